// Workspaces that froze because nobody called them, each woken by a call that asks its guest.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {
namespace {

constexpr int kWorkspaces = 20;
constexpr std::chrono::seconds kFreezeLimit{30}, kFrozenFillLimit{60};

// A file outside the volume, which only the guest can read.
Clock::duration ask_guest(Lab& lab, std::string const& id) {
    return lab.client().call("read_file", {{"workspace_id", id}, {"path", "/etc/debian_version"}}).took;
}

void wait_until_frozen(Lab& lab) {
    auto const end = Clock::now() + kFreezeLimit;
    for (;;) {
        auto const listed = lab.client().call("workspace_list", {{"limit", 200}}).structured();
        bool all = true;
        for (auto const& w : listed.at("workspaces")) all = all && w.at("state") == "frozen";
        if (all) return;
        if (Clock::now() > end) throw Failure("workspaces without calls do not freeze");
        pause(std::chrono::milliseconds(100));
    }
}

}  // namespace

void measure_wake_frozen(Lab& lab) {
    int const n = lab.count(100);
    std::vector<Lab::Workspace> workspaces;
    while (static_cast<int>(workspaces.size()) < std::min(n, kWorkspaces))
        workspaces.push_back(lab.workspace());
    for (auto const& w : workspaces) (void)ask_guest(lab, w.id());  // warm-up
    lab.server().wait_for_stock(ServeOptions().ready, kFrozenFillLimit);
    Samples frozen, awake;
    while (static_cast<int>(frozen.count()) < n) {
        wait_until_frozen(lab);
        for (auto const& w : workspaces) {
            if (static_cast<int>(frozen.count()) >= n) break;
            frozen.add(ask_guest(lab, w.id()));
            awake.add(ask_guest(lab, w.id()));
        }
    }
    auto& e = lab.report().add("wake_frozen", "a frozen workspace's first answer", "ms", frozen,
                               "the next answer", awake);
    promise(e, "p50 2, p99 10 ms", e.p50 <= 2 && e.p99 <= 10);
}

}  // namespace bench
