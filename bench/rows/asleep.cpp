// Thousands of hibernated workspaces: finding and waking any of them takes what it takes among ten.
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../rows.hpp"

#include <cstdio>
#include <random>

namespace bench {
namespace {

constexpr int kFew = 10, kLong = 2000, kShort = 100, kQuick = 12;
constexpr int kLookAgain = 100;  // every so many a line, for whoever waits
constexpr std::chrono::milliseconds kBetweenLooks{400};
constexpr double kSame = 1.25;  // what counts as the same time

struct Seen {
    Samples list, wake;
};

// Lists them, and wakes some chosen by chance: each is put to sleep again.
Seen look(Lab& lab, McpClient& client, std::vector<Lab::Workspace> const& all) {
    std::mt19937 random(1);
    std::uniform_int_distribution<std::size_t> any(0, all.size() - 1);
    Seen seen;
    int const n = lab.count(20);
    for (int i = -1; i < n; ++i) {
        auto const listed = client.call("workspace_list", {{"limit", kFew}});
        if (listed.structured().at("workspaces").size() != kFew)
            throw Failure("a list of ten is not one of ten");
        base::Json const which = {{"workspace_id", all[any(random)].id()}};
        auto const woken = client.call("workspace_wake", which);
        if (woken.structured().at("fidelity") != "memory") throw Failure("a workspace lost its memory");
        (void)client.call("workspace_hibernate", which);
        pause(kBetweenLooks);
        if (i < 0) continue;
        seen.list.add(listed.took);
        seen.wake.add(woken.took);
    }
    return seen;
}

}  // namespace

void measure_asleep(Lab& lab) {
    int const many = lab.options().long_run ? kLong : lab.options().quick ? kQuick : kShort;
    lab.close_server();
    ServeOptions options;
    options.more = "max_workspaces: " + std::to_string(many + 1) + "\nhibernation:\n    disk: 1TiB\n";
    auto const server = lab.own_server(options);
    auto const client = server->connect();
    std::vector<Lab::Workspace> all;
    Seen few;
    double bytes = 0;
    for (int i = 1; i <= many; ++i) {
        all.push_back(begin(*client, idle_shell()));
        auto const slept = client->call("workspace_hibernate", {{"workspace_id", all.back().id()}});
        bytes += slept.structured().at("image_bytes").get<double>();
        if (i % kLookAgain == 0) std::fprintf(stderr, "berth-bench: asleep: %d of %d\n", i, many);
        if (i == kFew) few = look(lab, *client, all);
    }
    auto const seen = look(lab, *client, all);
    auto const among = " among " + std::to_string(many) + " hibernated ones";
    auto const beside = "among ten";
    auto& listed =
        lab.report().add("asleep/list", "a list of ten" + among, "ms", seen.list, beside, few.list);
    promise(listed, "the same time (1.25 x)", listed.ratio.value_or(2) <= kSame);
    auto& woken =
        lab.report().add("asleep/wake", "an idle shell from disk" + among, "ms", seen.wake, beside, few.wake);
    promise(woken, "the same time (1.25 x)", woken.ratio.value_or(2) <= kSame);
    lab.report().note("asleep: images of " + std::to_string(static_cast<long>(bytes / many / 1024)) +
                      " KiB each, " + std::to_string(static_cast<long>(bytes / (1 << 20))) + " MiB together");
}

}  // namespace bench
