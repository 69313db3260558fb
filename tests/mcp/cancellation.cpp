#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

Json cancel(Json id) {
    return {{"jsonrpc", "2.0"},
            {"method", "notifications/cancelled"},
            {"params", {{"requestId", std::move(id)}}}};
}

}  // namespace

TEST_CASE("cancellation on stdio") {
    World world;
    Pipe pipe(world);
    pipe.send(call(1, "wait"));
    REQUIRE(world.until([&] { return world.seen->started == 1; }));
    SUBCASE("stops the work and sends no response") {
        pipe.send(cancel("1"));  // another id: a string
        CHECK(pipe.quiet());
        CHECK(world.seen->cancelled == 0);
        pipe.send(cancel(1));
        CHECK(world.until([&] { return world.seen->cancelled == 1; }));
        CHECK(pipe.quiet());
        CHECK(text_of(pipe.ask(call(1, "echo"))) == "local:");  // the id is free again
    }
    SUBCASE("an id in flight is not taken twice") {
        CHECK(pipe.ask(call(1, "echo"))["error"]["code"] == -32600);
        CHECK(text_of(pipe.ask(call("1", "echo"))) == "local:");
    }
    SUBCASE("unknown ids are ignored") {
        pipe.send(cancel(77));
        pipe.send(cancel(nullptr));
        CHECK(text_of(pipe.ask(call(2, "echo"))) == "local:");
    }
    SUBCASE("the end of the input cancels what runs and ends the connection") {
        pipe.close();
        CHECK(world.until([&] { return *pipe.ended; }));
        CHECK(world.seen->cancelled == 1);
    }
    SUBCASE("stopping the server cancels what runs") {
        world.io.run(world.server.stop());
        CHECK(world.seen->cancelled == 1);
    }
}

TEST_CASE("requests beyond the limit of a connection") {
    mcp::ServerOptions options;
    options.max_in_flight_per_connection = 2;
    World world(options);
    Pipe pipe(world);
    for (int id = 1; id <= 3; ++id) pipe.send(call(id, "wait"));
    REQUIRE(world.until([&] { return world.seen->started == 2; }));
    CHECK(pipe.quiet());
    CHECK(world.seen->started == 2);
    SUBCASE("run when there is room") {
        pipe.send(cancel(1));
        CHECK(world.until([&] { return world.seen->started == 3; }));
    }
    SUBCASE("can be cancelled while they wait") {
        pipe.send(cancel(3));
        pipe.send(cancel(1));
        CHECK(world.until([&] { return world.seen->cancelled == 1; }));
        CHECK(text_of(pipe.ask(call(4, "echo"))) == "local:");
        CHECK(world.seen->started == 2);
    }
}

TEST_CASE("two clients with equal ids get their own answers") {
    World world;
    Pipe first(world, "first"), second(world, "second");
    first.send(call(1, "echo", {{"ms", 50}, {"text", "x"}}));
    second.send(call(1, "echo", {{"ms", 10}, {"text", "y"}}));
    first.send(call(2, "echo", {{"text", "x"}}));
    second.send(call(2, "echo", {{"ms", 80}, {"text", "y"}}));
    std::map<int, std::string> of_first, of_second;
    for (int i = 0; i < 2; ++i) {
        auto const a = first.next(), b = second.next();
        of_first[a["id"]] = text_of(a);
        of_second[b["id"]] = text_of(b);
    }
    CHECK(of_first == std::map<int, std::string>{{1, "first:x"}, {2, "first:x"}});
    CHECK(of_second == std::map<int, std::string>{{1, "second:y"}, {2, "second:y"}});
    SUBCASE("and cancel only their own") {
        first.send(call(5, "wait"));
        second.send(call(5, "wait"));
        REQUIRE(world.until([&] { return world.seen->started == 2; }));
        first.send(cancel(5));
        CHECK(world.until([&] { return world.seen->cancelled == 1; }));
        CHECK(second.quiet());
        CHECK(world.seen->cancelled == 1);
    }
}

TEST_CASE("disconnecting over HTTP") {
    World world;
    SUBCASE("cancels a modern request") {
        Pending pending(world, world.modern_request(call(1, "wait")));
        REQUIRE(world.until([&] { return world.seen->started == 1; }));
        pending.disconnect();
        CHECK(world.until([&] { return *pending.ended && world.seen->cancelled == 1; }));
        CHECK_FALSE(pending.reply->sent);
    }
    SUBCASE("cancels a modern call that could have become a task") {
        mcp::ServerOptions slow;
        slow.task_after = std::chrono::hours(1);
        World other(slow);
        Json const capabilities{{"extensions", {{"io.modelcontextprotocol/tasks", Json::object()}}}};
        Pending pending(other, other.modern_request(call(1, "job", Json::object(), capabilities)));
        REQUIRE(other.until([&] { return other.seen->started == 1; }));
        pending.disconnect();
        CHECK(other.until([&] { return *pending.ended && other.seen->cancelled == 1; }));
    }
    SUBCASE("does not cancel a legacy request") {
        auto const opened = world.ask(world.http_request(initialize(1)));
        auto request = world.http_request(legacy_call(2, "wait", {{"ms", 50}}));
        request.fields.set("Mcp-Session-Id", opened.fields["Mcp-Session-Id"]);
        Pending pending(world, request);
        REQUIRE(world.until([&] { return world.seen->started == 1; }));
        pending.disconnect();
        CHECK(world.until([&] { return *pending.ended; }));
        CHECK(world.until([&] { return world.seen->finished == 1; }));
    }
    SUBCASE("a legacy request is cancelled by the notification, and its POST ends without a response") {
        auto const opened = world.ask(world.http_request(initialize(1)));
        auto request = world.http_request(legacy_call(2, "wait"));
        request.fields.set("Mcp-Session-Id", opened.fields["Mcp-Session-Id"]);
        Pending pending(world, request);
        REQUIRE(world.until([&] { return world.seen->started == 1; }));
        auto notice = world.http_request(cancel(2));
        notice.fields.set("Mcp-Session-Id", opened.fields["Mcp-Session-Id"]);
        CHECK(world.ask(notice).code() == 202);
        CHECK(world.until([&] { return *pending.ended && world.seen->cancelled == 1; }));
        CHECK(pending.reply->body.empty());
    }
}
