// Memory to disk and back, for what agents leave running; beside the same by bare runsc, whose files are
// flushed too. Ours also seals what it writes, and verifies every byte before it loads it.
#include "../interrupt.hpp"
#include "../rows.hpp"

#include <future>
#include <map>

namespace bench {
namespace {

constexpr std::chrono::milliseconds kBetweenSleeps{400};  // the next sandbox to wake into is made meanwhile

constexpr int kTries = 5;  // of 50 s: a gigabyte of random bytes takes its time on a busy machine

struct Load {
    std::string name, what;
    std::vector<std::string> program;  ///< writes once it holds what it holds
    int by_default = 10;
    double hibernate_ms = 0, wake_ms = 0;  ///< promised p95; 0 = none
};

std::vector<std::string> python(int mb) {
    return {"/usr/bin/python3", "-u", "-c",
            "import os, sys\nblob = os.urandom(" + std::to_string(mb) +
                " << 20)\nprint(1)\nimport time\ntime.sleep(1e6)"};
}

std::vector<Load> loads() {
    return {
        {"shell", "an idle shell", {"/bin/bash", "-c", "echo 1; while :; do sleep 1000; done"}, 10, 0, 0},
        {"python64", "Python with 64 MiB", python(64), 10, 250, 150},
        {"node",
         "an idle Node",
         {"/usr/bin/node", "-e", "console.log(1); setInterval(() => {}, 1e6)"},
         10,
         0,
         0},
        {"mem256", "256 MiB", python(256), 6, 800, 350},
        {"mem1024", "1 GiB", python(1024), 4, 2600, 1100},
    };
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

// A workspace with the load running in it.
Lab::Workspace begin(Lab& lab, Load const& load) {
    auto w = lab.workspace();
    auto const started = lab.client().call(
        "run_command",
        {{"workspace_id", w.id()}, {"command", command_of(load.program)}, {"background", true}});
    auto const process = started.structured().at("process_id").get<std::string>();
    for (int tries = 0; tries < kTries; ++tries) {
        auto const said =
            lab.client().call("read_process_output", {{"process_id", process}, {"wait_ms", 50'000}});
        if (said.structured().at("output") == "1\n") return w;
        throw_if_interrupted();
    }
    throw Failure(load.what + " did not start");
}

// Milliseconds of the call that no phase accounts for.
double unattributed(Answer const& answer) {
    double ms = std::chrono::duration<double, std::milli>(answer.took).count();
    for (auto const& phase : answer.structured().at("phases")) ms -= phase.at("ms").get<double>();
    return ms;
}

void note_phases(Lab& lab, std::string const& of, std::map<std::string, Samples> const& phases) {
    std::string line = of + " by phase, p50 ms:";
    for (auto const& [name, samples] : phases) {
        auto const tenths = std::to_string(static_cast<long>(samples.p50() * 10 + 0.5));
        line += " " + name + " " + (tenths.size() > 1 ? tenths.substr(0, tenths.size() - 1) : "0") + "." +
                tenths.back();
    }
    lab.report().note(line);
}

void add_phases(std::map<std::string, Samples>& phases, Answer const& answer) {
    for (auto const& phase : answer.structured().at("phases"))
        phases[phase.at("phase").get<std::string>()].add(phase.at("ms").get<double>());
    phases["(unattributed)"].add(unattributed(answer));
}

void measure_load(Lab& lab, Load const& load) {
    int const n = lab.count(load.by_default);
    auto const w = begin(lab, load);
    base::Json const which = {{"workspace_id", w.id()}};
    Samples hibernate, wake, floor_checkpoint, floor_restore;
    std::map<std::string, Samples> asleep, awake;
    for (int i = -1; i < n; ++i) {
        pause(kBetweenSleeps);
        auto const slept = lab.client().call("workspace_hibernate", which);
        pause(kBetweenSleeps);
        auto const woken = lab.client().call("workspace_wake", which);
        if (woken.structured().at("fidelity") != "memory") throw Failure(load.what + " lost its memory");
        auto const bare = lab.runsc().sleep_and_wake(load.program);
        if (i < 0) continue;
        hibernate.add(slept.took);
        wake.add(woken.took);
        add_phases(asleep, slept);
        add_phases(awake, woken);
        floor_checkpoint.add(bare.checkpoint);
        floor_restore.add(bare.restore);
    }
    {
        auto& e = lab.report().add("hibernate/" + load.name, load.what + " to disk", "ms", hibernate,
                                   "runsc checkpoint, flushed", floor_checkpoint);
        if (load.hibernate_ms > 0)
            promise(e, "p95 " + std::to_string(static_cast<int>(load.hibernate_ms)) + " ms",
                    e.p95 <= load.hibernate_ms);
    }
    {
        auto& e = lab.report().add("wake/" + load.name, load.what + " from disk", "ms", wake,
                                   "runsc restore, created before", floor_restore);
        if (load.wake_ms > 0)
            promise(e, "p95 " + std::to_string(static_cast<int>(load.wake_ms)) + " ms",
                    e.p95 <= load.wake_ms);
    }
    note_phases(lab, "hibernate/" + load.name, asleep);
    note_phases(lab, "wake/" + load.name, awake);
}

}  // namespace

void measure_hibernate(Lab& lab) {
    for (auto const& load : loads()) measure_load(lab, load);
}

void measure_wake_together(Lab& lab) {
    constexpr int kCallers = 16;
    Samples one, many;
    auto const w = begin(lab, loads().front());
    base::Json const which = {{"workspace_id", w.id()}};
    std::vector<std::unique_ptr<McpClient>> clients;
    for (int i = 0; i < kCallers; ++i) clients.push_back(lab.server().connect());
    auto const ask = [](McpClient& client, base::Json const& arguments) {
        return client.call("read_file", arguments).took;
    };
    base::Json const file = {{"workspace_id", w.id()},
                             {"path", "/etc/debian_version"}};  // which only the guest can read
    for (int round = 0; round < lab.count(5); ++round) {
        pause(kBetweenSleeps);
        (void)lab.client().call("workspace_hibernate", which);
        pause(kBetweenSleeps);
        std::vector<std::future<Clock::duration>> answers;
        for (auto const& client : clients)
            answers.push_back(std::async(std::launch::async, ask, std::ref(*client), std::cref(file)));
        for (auto& answer : answers) one.add(answer.get());
    }
    lab.report().add("wake_together", "sixteen callers of one hibernated workspace, each to its answer", "ms",
                     one);
    int const count = std::min(50, lab.count(10) * 5);
    std::vector<Lab::Workspace> all;
    for (int i = 0; i < count; ++i) all.push_back(begin(lab, loads().front()));
    for (auto const& each : all)
        (void)lab.client().call("workspace_hibernate", {{"workspace_id", each.id()}});
    pause(kBetweenSleeps);
    while (static_cast<int>(clients.size()) < count) clients.push_back(lab.server().connect());
    std::vector<base::Json> files;
    for (auto const& each : all)
        files.push_back({{"workspace_id", each.id()}, {"path", "/etc/debian_version"}});
    std::vector<std::future<Clock::duration>> answers;
    for (int i = 0; i < count; ++i)
        answers.push_back(std::async(std::launch::async, ask, std::ref(*clients[static_cast<std::size_t>(i)]),
                                     std::cref(files[static_cast<std::size_t>(i)])));
    for (auto& answer : answers) many.add(answer.get());
    lab.report().add("wake_together/many",
                     std::to_string(count) + " hibernated workspaces called at once, each to its answer",
                     "ms", many);
}

}  // namespace bench
