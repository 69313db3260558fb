// One workspace with a program into ten, until all ten have answered; beside the least that bare runsc takes for it: one
// checkpoint and ten restores in turn, without files, identities or a seal.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {
namespace {

constexpr int kForks = 10;
constexpr std::chrono::milliseconds kBetweenForks{500};  // stock and disk come to rest

}  // namespace

void measure_fork(Lab& lab) {
    int const n = lab.count(5);
    std::string const program = "import os\nblob = os.urandom(64 << 20)\nprint(1, flush=True)\nimport time\ntime.sleep(1e6)";
    auto const w = lab.workspace();
    auto const started = lab.client().call(
        "run_command",
        {{"workspace_id", w.id()}, {"command", "exec python3 -c '" + program + "'"}, {"background", true}});
    auto const process = started.structured().at("process_id").get<std::string>();
    auto const said = lab.client().call("read_process_output", {{"process_id", process}, {"wait_ms", 50'000}});
    if (said.structured().at("output") != "1\n") throw Failure("Python with 64 MiB did not start");
    Samples forks, still, floor;
    for (int i = -1; i < n; ++i) {
        pause(kBetweenForks);
        auto const made = lab.client().call("workspace_fork", {{"workspace_id", w.id()}, {"count", kForks}});
        auto const& forked = made.structured();
        if (forked.at("fidelity") != "memory") throw Failure("forks came without memory");
        for (auto const& one : forked.at("workspaces"))
            (void)lab.client().call("workspace_delete", {{"workspace_id", one.at("workspace_id")}});
        pause(kBetweenForks);
        auto const bare = lab.runsc().sleep_and_wake({"/usr/bin/python3", "-u", "-c", program});
        if (i < 0) continue;
        forks.add(made.took);
        still.add(forked.at("still_ms").get<double>());
        floor.add(bare.checkpoint + kForks * bare.restore);
    }
    lab.report().add("fork", "a workspace with Python and 64 MiB into ten that answered", "ms", forks,
                     "runsc: a checkpoint and ten restores", floor);
    lab.report().add("fork", "of that, while nothing ran in the origin", "ms", still);
}

}  // namespace bench
