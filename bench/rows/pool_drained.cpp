// Claims that find nothing in stock, one after the other, on a server that keeps none: each waits for a boot.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {

void measure_pool_drained(Lab& lab) {
    constexpr int kWarmUp = 2, kMaxSandboxes = 400;
    int const n = std::min(lab.count(40), kMaxSandboxes - kWarmUp);
    auto const server = lab.own_server(0, 0, kMaxSandboxes);
    auto const client = server->connect();
    Samples floor, cold;
    std::vector<Lab::Workspace> made;
    for (int i = -kWarmUp; i < n; ++i) {
        auto const answer = client->call("workspace_create", base::Json::object());
        made.emplace_back(*client, answer.structured());
        if (answer.structured().at("source") != "cold")
            throw Failure("a server without a stock gave a warm workspace");
        if (i >= 0) cold.add(answer.took);
        if (i >= 0 && i % 4 == 0) floor.add(lab.runsc().run_to_first_echo());
    }
    auto& e = lab.report().add("pool_drained", "workspace_create, nothing in stock", "ms", cold,
                               "runsc run to first echo", floor);
    promise(e, "p95 under 400 ms", e.p95 < 400);
}

}  // namespace bench
