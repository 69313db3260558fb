// What a tool call costs before the tool does anything.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {

void measure_http_floor(Lab& lab) {
    constexpr int kWarmUp = 100, kBlock = 50;  // by turns of that many calls
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
    for (int done = -kWarmUp; done < n; done += kBlock) {
        int const here = std::min(kBlock, n - done);
        for (int i = 0; i < here; ++i) {
            auto const took = lab.client().call("workspace_get", look).took;
            if (done >= 0) ours.add(took);
        }
        for (int i = 0; sdk && i < here; ++i) {
            auto const took = sdk->call("echo", say).took;
            if (done >= 0) theirs.add(took);
        }
    }
    if (sdk)
        lab.report().add("http_floor", "workspace_get over HTTP", "ms", ours, "a trivial tool of the npm SDK",
                         theirs);
    else
        lab.report().add("http_floor", "workspace_get over HTTP", "ms", ours);
}

}  // namespace bench
