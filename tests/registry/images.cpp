#include "fixture.hpp"

#include <doctest/doctest.h>

using namespace registry_test;

namespace {

registry::ImageRecord image(std::string id, std::uint64_t generation) {
    registry::ImageRecord r;
    r.workspace = "a";
    r.image = std::move(id);
    r.generation = generation;
    r.bytes = 1 << 20;
    r.template_stamp = "stamp";
    r.runtime_build = "runsc";
    r.guest_build = "guest";
    r.created_ms = 7;
    return r;
}

registry::ImageChange gains(registry::ImageRecord r) {
    registry::ImageChange change;
    change.add = std::move(r);
    return change;
}

registry::ImageChange loses(std::string id) {
    registry::ImageChange change;
    change.remove.push_back(std::move(id));
    return change;
}

}  // namespace

TEST_CASE("memory images") {
    World w;
    auto& r = *w.registry;
    REQUIRE(ok(w.io.run(r.insert_workspace(workspace("a")))));
    auto asleep = workspace("a");
    asleep.state = "hibernated";
    asleep.slot = "";
    asleep.sleeps = 1;
    asleep.fidelity = "files";
    asleep.fidelity_reason = "damaged";
    auto const images = [&] { return w.io.run(w.registry->images()).value(); };

    SUBCASE("are recorded in one step with the state that needs them, and come back after a restart") {
        auto forked = image("g1", 1);
        forked.forked = true;
        REQUIRE(ok(w.io.run(r.update_workspace_images(asleep, gains(forked)))));
        w.close();
        w.open();
        auto const all = images();
        REQUIRE(all.size() == 1);
        CHECK(all[0].workspace == "a");
        CHECK(all[0].image == "g1");
        CHECK(all[0].kind == "sleep");
        CHECK(all[0].generation == 1);
        CHECK(all[0].forked);
        CHECK(all[0].bytes == 1 << 20);
        CHECK(all[0].template_stamp == "stamp");
        CHECK(all[0].runtime_build == "runsc");
        CHECK(all[0].guest_build == "guest");
        CHECK(all[0].created_ms == 7);
        auto const record = w.io.run(w.registry->workspaces()).value().at(0);
        CHECK(record.state == "hibernated");
        CHECK(record.sleeps == 1);
        CHECK(record.fidelity == "files");
        CHECK(record.fidelity_reason == "damaged");
    }
    SUBCASE("are neither recorded nor forgotten when the other half fails") {
        REQUIRE(ok(w.io.run(r.update_workspace_images(asleep, gains(image("g1", 1))))));
        auto stranger = workspace("nobody");
        CHECK_FALSE(w.io.run(r.update_workspace_images(stranger, loses("g1"))).has_value());
        auto running = workspace("a");
        CHECK_FALSE(w.io.run(r.update_workspace_images(running, gains(image("g1", 2)))).has_value());
        auto odd = image("g2", 2);
        odd.kind = "of another kind";
        auto change = gains(odd);
        change.remove.push_back("g1");
        CHECK_FALSE(w.io.run(r.update_workspace_images(running, change)).has_value());
        CHECK(w.io.run(r.workspaces()).value().at(0).state == "hibernated");
        REQUIRE(images().size() == 1);
        CHECK(images()[0].generation == 1);
    }
    SUBCASE("of another workspace cannot be slipped in") {
        auto other = image("g1", 1);
        other.workspace = "b";
        CHECK_FALSE(w.io.run(r.change_images("a", gains(other))).has_value());
        CHECK(images().empty());
    }
    SUBCASE("go with their workspace, and one that is not there is no mistake") {
        REQUIRE(ok(w.io.run(r.change_images("a", gains(image("g1", 1))))));
        REQUIRE(ok(w.io.run(r.change_images("a", loses("g9")))));
        REQUIRE(ok(w.io.run(r.change_images("a", gains(image("g2", 2))))));
        REQUIRE(ok(w.io.run(r.change_images("a", loses("g1")))));
        REQUIRE(images().size() == 1);
        REQUIRE(ok(w.io.run(r.delete_workspace("a"))));
        CHECK(images().empty());
    }
}
