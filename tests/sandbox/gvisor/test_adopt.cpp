#include "node_fixture.hpp"
#include "slot.hpp"
#include <testing/stale_events.hpp>

#include <filesystem>
#include <fstream>

using namespace gvisor_test;

TEST_CASE("after the server was killed") {
    BERTH_NEEDS_GVISOR();
    TestNode node(2, 1);

    SUBCASE("a claimed sandbox is adopted and its output goes on at the offset") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        auto const id = one->slot_id();
        sandbox::ProcessSpec spec;
        spec.id = "counter";
        spec.cwd = "/";
        spec.command = "for i in 1 2 3; do echo line $i; sleep 0.3; done; read wait; echo end";
        spec.stdin_open = true;
        REQUIRE(node.io.run(one->guest().start(std::move(spec))));
        auto first = node.io.run(one->guest().read("counter", 0, 7, std::chrono::seconds(10)));
        REQUIRE(first);
        CHECK(first->output == "line 1\n");
        one.reset();
        node.drop();

        node.open();
        auto adopted = node.io.run(node.sandboxes->adopt(id));
        REQUIRE_MESSAGE(adopted, (adopted ? "" : adopted.error().message()));
        auto& guest = (*adopted)->guest();
        auto known = node.io.run(guest.configured_for("w1"));
        REQUIRE(known);
        CHECK(*known);
        REQUIRE(node.io.run(guest.input("counter", "go\n", false)));
        std::string rest;
        CHECK(node.eventually([&] {
            auto more = node.io.run(guest.read("counter", 7 + rest.size(), 4096, std::chrono::seconds(1)));
            if (more) rest += more->output;
            return rest.find("end") != std::string::npos;
        }));
        CHECK(rest == "line 2\nline 3\nend\n");
    }
    SUBCASE("a sandbox is not taken for dead by an event of a descriptor that was closed") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        auto const id = one->slot_id();
        one.reset();
        node.drop();
        node.open();
        std::optional<base::Result<std::shared_ptr<sandbox::Sandbox>>> adopted;
        testing_support::among_stale_events(node.io.context, [&] {
            asio::co_spawn(node.io.context, node.sandboxes->adopt(id),
                           [&](std::exception_ptr, auto result) { adopted.emplace(std::move(result)); });
        });
        REQUIRE(node.eventually([&] { return adopted.has_value(); }));
        REQUIRE_MESSAGE(*adopted, (*adopted ? "" : adopted->error().message()));
        CHECK((**adopted)->alive());
        CHECK(node.output_of(***adopted, "echo hi") == "hi\n");
    }
    SUBCASE("a frozen sandbox is adopted thawed") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        REQUIRE(one->freeze());
        auto const id = one->slot_id();
        one.reset();
        node.drop();
        node.open();
        auto adopted = node.io.run(node.sandboxes->adopt(id));
        REQUIRE(adopted);
        CHECK_FALSE((*adopted)->frozen());
        CHECK(node.output_of(**adopted, "echo hi") == "hi\n");
    }
    SUBCASE("unclaimed spares go back to the stock and claimed ones that nobody adopts are destroyed") {
        node.fill(2);
        auto one = node.take();
        auto const claimed = one->slot_id();
        one.reset();
        node.drop();
        node.open();
        auto const report = node.io.run(node.sandboxes->sweep());
        CHECK(report.adopted_to_pool == node.stock().ready);
        CHECK(report.adopted_to_pool >= 1);
        CHECK(report.destroyed >= 1);
        CHECK(traces(claimed, node.options.directory) == std::set<std::string>{});
        auto spare = node.take();
        REQUIRE(node.configure(*spare));
        CHECK(node.output_of(*spare, "echo hi") == "hi\n");
    }
    SUBCASE("spares of another template stamp are not used again") {
        node.fill(2);
        node.drop();
        node.options.templates["base"].stamp = "newer";
        node.open();
        auto const report = node.io.run(node.sandboxes->sweep());
        CHECK(report.adopted_to_pool == 0);
        CHECK(report.destroyed >= 2);
    }
    SUBCASE("half-made slots and stray groups are removed") {
        auto const slots = node.options.directory + "/slots";
        auto const bare = sandbox::Slot::new_id(), recorded = sandbox::Slot::new_id(), stray = sandbox::Slot::new_id();
        std::filesystem::create_directory(slots + "/" + bare);
        sandbox::Slot const slot(slots, recorded);
        sandbox::SlotRecord record;
        record.template_name = "base";
        record.stamp = "test";
        record.sentry = ::getpid();              // alive, but no sandbox of ours: another start time
        record.sentry_start = 1;
        REQUIRE(slot.create(record));
        std::ofstream(node.options.directory + "/runsc/" + stray + "_sandbox:" + stray + ".state") << "{}";
        auto tree = sandbox::CgroupTree::prepare(std::filesystem::canonical(node.options.directory));
        REQUIRE(tree);
        REQUIRE(sandbox::Cgroup(*tree, stray).create({}));
        node.drop();
        node.open();
        auto const report = node.io.run(node.sandboxes->sweep());
        CHECK(report.destroyed == 2);
        CHECK(report.leftovers_removed == 1);
        for (auto const& id : {bare, recorded, stray}) CHECK(traces(id, node.options.directory) == std::set<std::string>{});
    }
    SUBCASE("a sandbox that is gone cannot be adopted") {
        for (auto const& id : {std::string("../../etc"), std::string(""), sandbox::Slot::new_id()}) {
            auto adopted = node.io.run(node.sandboxes->adopt(id));
            REQUIRE_FALSE(adopted);
            CHECK(base::is(adopted.error(), base::errc::not_found));
        }
    }
}

TEST_CASE("one directory serves one server") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    auto second = sandbox::Sandboxes::open(node.io.context, node.io.pool, node.options);
    REQUIRE_FALSE(second);
    CHECK(base::is(second.error(), base::errc::busy));
}
