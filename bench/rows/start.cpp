// The server alone: how soon it serves, and what it weighs before there is any sandbox.
#include "../interrupt.hpp"
#include "../process_tree.hpp"
#include "../rows.hpp"

namespace bench {
namespace {

constexpr double kBytesPerMiB = 1 << 20;
constexpr int kPeerStarts = 5;

std::unique_ptr<ServerUnderTest> bare_server(Lab& lab) {
    auto server = lab.own_server(0, 0, 1);
    if (server->boots() != 0) throw Failure("a server without a stock booted a sandbox");
    return server;
}

}  // namespace

void measure_start(Lab& lab) {
    int const n = lab.count(20);
    Samples ours, theirs;
    (void)bare_server(lab);  // warm-up: the page cache
    for (int i = 0; i < n; ++i) {
        ours.add(bare_server(lab)->start_took());
        if (lab.peers().installed() && i < kPeerStarts) theirs.add(lab.peers().sdk_server().start_took);
    }
    auto& e = lab.peers().installed() ? lab.report().add("start", "berth serve to /readyz", "ms", ours,
                                                         "a server of the npm SDK", theirs)
                                      : lab.report().add("start", "berth serve to /readyz", "ms", ours);
    promise(e, "under 50 ms", e.p50 < 50);
}

void measure_memory(Lab& lab) {
    int const n = std::min(lab.count(3), 10);
    constexpr std::chrono::milliseconds kSettle{300};
    Samples ours, theirs;
    for (int i = 0; i < n; ++i) {
        auto const server = bare_server(lab);
        auto const client = server->connect();
        (void)client->call("workspace_list", base::Json::object());
        pause(kSettle);
        ours.add(static_cast<double>(rss_of(server->pid())) / kBytesPerMiB);
        if (!lab.peers().installed()) continue;
        auto const peer = lab.peers().sdk_server();
        SessionClient(peer.port).call("echo", {{"text", "hi"}});
        pause(kSettle);
        for (auto const pid : processes_naming(peer.mark))
            theirs.add(static_cast<double>(rss_of(pid)) / kBytesPerMiB);
    }
    auto& e = theirs.count() > 0 ? lab.report().add("memory", "berth serve, no sandbox, RSS", "MiB", ours,
                                                    "a server of the npm SDK", theirs)
                                 : lab.report().add("memory", "berth serve, no sandbox, RSS", "MiB", ours);
    promise(e, "30 MB", e.p50 <= 30);
}

}  // namespace bench
