// Memory to disk and back, for what agents leave running; beside the same by bare runsc, whose files are
// flushed too. Ours also seals what it writes, and verifies every byte before it loads it.
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../rows.hpp"

#include <algorithm>
#include <future>
#include <map>

namespace bench {
namespace {

constexpr std::chrono::milliseconds kBetweenSleeps{400};  // the next sandbox to wake into is made meanwhile
constexpr double kMostOfFloor = 1.2, kUnattributedMs = 5;

// Milliseconds of the call that no phase accounts for.
double unattributed(Answer const& answer) {
    double ms = milliseconds_of(answer.took);
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
}

// One direction, for one load: beside bare runsc, and what of it no phase accounts for.
struct Direction {
    std::string row, what, beside;
    double promised_ms;
    Samples took{}, floor{}, rest{};
    std::map<std::string, Samples> phases{};

    void add(Answer const& answer, Clock::duration bare) {
        took.add(answer.took);
        floor.add(bare);
        rest.add(std::max(0.0, unattributed(answer)));
        add_phases(phases, answer);
    }
    void report(Lab& lab) const {
        auto& e = lab.report().add(row, what, "ms", took, beside, floor);
        if (promised_ms > 0)
            promise(e, "p95 " + std::to_string(static_cast<int>(promised_ms)) + " ms, at most 1.2 x",
                    e.p95 <= promised_ms && e.ratio.value_or(2) <= kMostOfFloor);
        auto& unexplained = lab.report().add(row, "of that, unattributed: in no phase", "ms", rest);
        promise(unexplained, "p95 5 ms", unexplained.p95 <= kUnattributedMs);
        note_phases(lab, row, phases);
    }
};

void measure_load(Lab& lab, Load const& load) {
    bool const quick = lab.options().quick;
    int const n = quick ? 1 : lab.count(load.by_default);
    auto const w = begin(lab.client(), load);
    base::Json const which = {{"workspace_id", w.id()}};
    Direction asleep{"hibernate/" + load.name, load.what + " to disk", "runsc checkpoint, flushed", load.hibernate_ms};
    Direction awake{"wake/" + load.name, load.what + " from disk", "runsc restore, created before", load.wake_ms};
    for (int i = quick ? 0 : -1; i < n; ++i) {  // the first warms up
        pause(kBetweenSleeps);
        auto const slept = lab.client().call("workspace_hibernate", which);
        pause(kBetweenSleeps);
        auto const woken = lab.client().call("workspace_wake", which);
        if (woken.structured().at("fidelity") != "memory") throw Failure(load.what + " lost its memory");
        auto const bare = lab.runsc().sleep_and_wake(load.program);
        if (i < 0) continue;
        asleep.add(slept, bare.checkpoint);
        awake.add(woken, bare.restore);
    }
    asleep.report(lab);
    awake.report(lab);
}

}  // namespace

void measure_hibernate(Lab& lab) {
    for (auto const& load : sleeping_loads()) measure_load(lab, load);
}

void measure_wake_together(Lab& lab) {
    constexpr int kCallers = 16;
    Samples one, many;
    auto const w = begin(lab.client(), idle_shell());
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
    for (int i = 0; i < count; ++i) all.push_back(begin(lab.client(), idle_shell()));
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
