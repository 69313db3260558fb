// What a tool call costs before the tool does anything.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {

void measure_http_floor(Lab& lab) {
    constexpr int kWarmUp = 100;
    int const n = lab.count(1000);
    auto const workspace = lab.workspace();
    base::Json const look = {{"workspace_id", workspace.id()}}, say = {{"text", "hi"}};
    std::unique_ptr<SessionClient> sdk;
    Peers::SdkServer server;
    if (lab.peers().installed()) {
        server = lab.peers().sdk_server();
        sdk = std::make_unique<SessionClient>(server.port);
    }
    Samples ours, theirs;
    for (int i = -std::min(n, kWarmUp); i < n; ++i) {
        auto const us = lab.client().call("workspace_get", look).took;
        if (i >= 0) ours.add(us);
        if (!sdk) continue;
        auto const them = sdk->call("echo", say).took;
        if (i >= 0) theirs.add(them);
    }
    if (sdk)
        lab.report().add("http_floor", "workspace_get over HTTP", "ms", ours, "a trivial tool of the npm SDK",
                         theirs);
    else
        lab.report().add("http_floor", "workspace_get over HTTP", "ms", ours);
}

}  // namespace bench
