#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

Json listen(Json id, Json filter) {
    return modern(std::move(id), "subscriptions/listen", {{"notifications", std::move(filter)}});
}
constexpr auto kSubscription = "io.modelcontextprotocol/subscriptionId";

}  // namespace

TEST_CASE("a listen over HTTP") {
    World world;
    Pending pending(
        world, world.modern_request(listen(7, {{"toolsListChanged", true}, {"promptsListChanged", true}})));
    auto const& reply = *pending.reply;
    REQUIRE(world.until([&] { return !reply.events().empty(); }));
    auto const ack = reply.events()[0];
    CHECK(ack["method"] == "notifications/subscriptions/acknowledged");
    CHECK(ack["params"]["_meta"][kSubscription] == 7);
    CHECK(ack["params"]["notifications"] == Json{{"toolsListChanged", true}});  // no prompts are offered
    SUBCASE("hears what it asked for and nothing else") {
        world.server.hub().prompts_changed();
        world.server.hub().resource_updated("x:y");
        world.server.hub().tools_changed();
        REQUIRE(world.until([&] { return reply.events().size() >= 2; }));
        CHECK(reply.events().size() == 2);
        CHECK(reply.events()[1]["method"] == "notifications/tools/list_changed");
        CHECK(reply.events()[1]["params"]["_meta"][kSubscription] == 7);
    }
    SUBCASE("ends with a result when the server stops") {
        world.io.run(world.server.stop());
        CHECK(world.until([&] { return *pending.ended; }));
        CHECK(reply.events().back()["id"] == 7);
        CHECK(reply.events().back()["result"]["resultType"] == "complete");
    }
    SUBCASE("is forgotten when its client goes") {
        pending.disconnect();
        CHECK(world.until([&] { return *pending.ended; }));
        world.server.hub().tools_changed();
        CHECK(reply.events().size() == 1);
    }
}

TEST_CASE("a listen on stdio") {
    World world;
    Pipe pipe(world);
    auto const ack = pipe.ask(listen("l", {{"toolsListChanged", true}}));
    CHECK(ack["params"]["_meta"][kSubscription] == "l");
    SUBCASE("shares the channel with calls") {
        CHECK(text_of(pipe.ask(call(1, "echo"))) == "local:");
        world.server.hub().tools_changed();
        CHECK(pipe.next()["params"]["_meta"][kSubscription] == "l");
    }
    SUBCASE("is ended by its client without a word") {
        pipe.send(Json{
            {"jsonrpc", "2.0"}, {"method", "notifications/cancelled"}, {"params", {{"requestId", "l"}}}});
        CHECK(text_of(pipe.ask(call(1, "echo"))) == "local:");
        world.server.hub().tools_changed();
        CHECK(pipe.quiet());
    }
}

TEST_CASE("legacy sessions hear list changes unasked") {
    World world;
    Pipe pipe(world);
    pipe.ask(initialize(1));
    world.server.hub().tools_changed();  // not yet: the client has not said that it is ready
    pipe.send(Json{{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}});
    CHECK(text_of(pipe.ask(legacy_call(2, "echo"))) == "local:");
    world.server.hub().tools_changed();
    CHECK(pipe.next()["method"] == "notifications/tools/list_changed");
}
