#include "loads.hpp"

#include "interrupt.hpp"

namespace bench {
namespace {

constexpr int kTries = 5;  // of 50 s: a gigabyte of random bytes takes its time on a busy machine

Load promising(Load load, int by_default, double hibernate_ms, double wake_ms) {
    load.by_default = by_default;
    load.hibernate_ms = hibernate_ms;
    load.wake_ms = wake_ms;
    return load;
}

std::string command_of(std::vector<std::string> const& program) {
    std::string out = "exec";
    for (auto const& word : program) {
        out += " '";
        for (char const c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
        out += "'";
    }
    return out;
}

}  // namespace

Load idle_shell() {
    return {"shell", "an idle shell", {"/bin/bash", "-c", "echo 1; while :; do sleep 1000; done"}};
}

Load random_memory(int mb) {
    auto const size = mb >= 1024 ? std::to_string(mb / 1024) + " GiB" : std::to_string(mb) + " MiB";
    return {"mem" + std::to_string(mb),
            size,
            {"/usr/bin/python3", "-u", "-c",
             "import os, sys\nblob = os.urandom(" + std::to_string(mb) +
                 " << 20)\nprint(1)\nimport time\ntime.sleep(1e6)"}};
}

std::vector<Load> sleeping_loads() {
    auto python = random_memory(64);
    python.name = "python64";
    python.what = "Python with 64 MiB";
    Load const node{
        "node", "an idle Node", {"/usr/bin/node", "-e", "console.log(1); setInterval(() => {}, 1e6)"}};
    return {idle_shell(), promising(std::move(python), 10, 250, 150), node,
            promising(random_memory(256), 6, 800, 350), promising(random_memory(1024), 4, 2600, 1100)};
}

void start(McpClient& client, std::string const& workspace_id, Load const& load) {
    auto const started = client.call(
        "run_command", {{"workspace_id", workspace_id}, {"command", command_of(load.program)}, {"background", true}});
    auto const process = started.structured().at("process_id").get<std::string>();
    for (int tries = 0; tries < kTries; ++tries) {
        auto const said = client.call("read_process_output", {{"process_id", process}, {"wait_ms", 50'000}});
        if (said.structured().at("output") == "1\n") return;
        throw_if_interrupted();
    }
    throw Failure(load.what + " did not start");
}

Lab::Workspace begin(McpClient& client, Load const& load, base::Json const& arguments) {
    auto const created = client.call("workspace_create", arguments);
    Lab::Workspace w(client, created.structured());
    start(client, w.id(), load);
    return w;
}

}  // namespace bench
