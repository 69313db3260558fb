#include "node_fixture.hpp"

#include <cstdlib>
#include <optional>

using namespace gvisor_test;

TEST_CASE("a sandbox that dies") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    auto neighbour = node.take();
    REQUIRE(node.configure(*neighbour));
    auto one = node.take();
    REQUIRE(node.configure(*one));
    std::optional<sandbox::Death> told;
    one->on_death([&](sandbox::Death const& d) { told = d; });

    SUBCASE("of its memory limit says so, and its neighbour answers") {
        sandbox::Limits limits;
        limits.memory_bytes = 256 << 20;
        REQUIRE(one->set_limits(limits));
        sandbox::ProcessSpec spec;
        spec.id = "hog";
        spec.cwd = "/";
        spec.command = "python3 -c 'x = bytearray(1 << 30); print(len(x)); import time; time.sleep(60)'";
        REQUIRE(node.io.run(one->guest().start(std::move(spec))));
        REQUIRE(node.eventually([&] { return told.has_value(); }));
        CHECK(told->reason == sandbox::Death::Reason::oom);
        CHECK(told->detail.find("256 MiB") != std::string::npos);
        CHECK_FALSE(one->alive());
        auto refused = node.io.run(one->guest().ping());
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::unavailable));
    }
    SUBCASE("of a signal from outside tells its owner once") {
        auto pid = base::read_file(node.options.directory + "/slots/" + one->slot_id() + "/sentry.pid");
        REQUIRE(pid);
        REQUIRE(::kill(std::atoi(pid->c_str()), SIGKILL) == 0);
        REQUIRE(node.eventually([&] { return told.has_value(); }));
        CHECK((told->reason == sandbox::Death::Reason::killed || told->reason == sandbox::Death::Reason::runtime_error));
        CHECK_FALSE(one->alive());
        CHECK(node.sandboxes->running() == 2);   // until its owner has looked
    }
    SUBCASE("of too many processes leaves its neighbour in peace") {
        sandbox::Limits limits;
        limits.pids = 200;
        REQUIRE(one->set_limits(limits));
        sandbox::ProcessSpec spec;
        spec.id = "bomb";
        spec.cwd = "/";
        spec.command = "bomb() { bomb | bomb & }; bomb; sleep 60";
        REQUIRE(node.io.run(one->guest().start(std::move(spec))));
        // Either the bomb meets its limit, or the limit ends the sandbox.
        CHECK(node.eventually([&] {
            auto const usage = one->usage();
            return told || (usage && usage->pids >= 190);
        }));
        auto const usage = one->usage();
        CHECK((!usage || usage->pids <= 200));
        CHECK((!told || told->reason == sandbox::Death::Reason::pids));
    }
    CHECK(neighbour->alive());
    CHECK(node.output_of(*neighbour, "echo still here") == "still here\n");
    auto const id = one->slot_id();
    REQUIRE(node.io.run(one->destroy()));
    CHECK(traces(id, node.options.directory) == std::set<std::string>{});
}
