#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

struct Session {
    explicit Session(World& w, std::string principal = "alice", Json capabilities = Json::object())
        : world(w), owner(principal) {
        auto const opened =
            world.ask(world.http_request(initialize(1, "2025-11-25", std::move(capabilities)), principal));
        CHECK(opened.code() == 200);
        id = std::string(opened.fields["Mcp-Session-Id"]);
        CHECK(post(Json{{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}}).code() == 202);
    }
    http::Request request(Json const& message) { return with_id(world.http_request(message, owner)); }
    http::Request bare(http::Verb verb, std::string last_event = {}) {
        http::Request out;
        out.verb = verb;
        out.principal.name = owner;
        out.fields.set("Accept", "text/event-stream");
        if (!last_event.empty()) out.fields.set("Last-Event-ID", last_event);
        return with_id(std::move(out));
    }
    http::Request with_id(http::Request out) {
        out.fields.set("Mcp-Session-Id", id);
        out.fields.set("MCP-Protocol-Version", "2025-11-25");
        return out;
    }
    FakeReply post(Json const& message) { return world.ask(request(message)); }

    World& world;
    std::string owner, id;
};

}  // namespace

TEST_CASE("a session over HTTP") {
    World world;
    Session session(world);
    SUBCASE("belongs to the principal that opened it") {
        CHECK(text_of(session.post(legacy_call(2, "echo")).json()) == "alice:");
        Session thief(world, "bob");
        thief.id = session.id;
        auto const stolen = thief.post(legacy_call(2, "echo"));
        CHECK(stolen.code() == 404);
        thief.id = "no such session";
        auto const unknown = thief.post(legacy_call(2, "echo"));
        CHECK(stolen.body == unknown.body);
        thief.id = session.id;
        CHECK(world.ask(thief.bare(http::Verb::get)).code() == 404);
        CHECK(world.ask(thief.bare(http::Verb::delete_)).code() == 404);
        CHECK(session.post(legacy_call(3, "echo")).code() == 200);
    }
    SUBCASE("ends with DELETE, and its calls with it") {
        Pending pending(world, session.request(legacy_call(2, "wait")));
        REQUIRE(world.until([&] { return world.seen->started == 1; }));
        CHECK(world.ask(session.bare(http::Verb::delete_)).code() == 200);
        CHECK(world.until([&] { return *pending.ended && world.seen->cancelled == 1; }));
        CHECK(session.post(legacy_call(3, "echo")).code() == 404);
    }
    SUBCASE("is missing its id: 400") {
        auto request = session.request(legacy_call(2, "echo"));
        request.fields.erase("Mcp-Session-Id");
        CHECK(world.ask(request).code() == 400);
    }
    SUBCASE("keeps a log level of its own") {
        Session other(world);
        CHECK(session.post(request(2, "logging/setLevel", {{"level", "emergency"}})).json()["result"] ==
              Json::object());
        CHECK(session.post(request(2, "logging/setLevel", {{"level", "loud"}})).json()["error"]["code"] ==
              -32602);
        CHECK(session.post(legacy_call(3, "chatty")).sent);
        CHECK(other.post(legacy_call(3, "chatty")).streaming);
    }
}

TEST_CASE("streams of a session") {
    World world;
    Json const capabilities{{"elicitation", Json::object()}};
    Session session(world, "alice", capabilities);
    SUBCASE("GET shows what nobody asked for, and a newer GET takes its place") {
        Pending first(world, session.bare(http::Verb::get));
        REQUIRE(world.until([&] { return first.reply->streaming; }));
        world.server.hub().tools_changed();
        REQUIRE(world.until([&] { return first.reply->events().size() == 1; }));
        Pending second(world, session.bare(http::Verb::get));
        CHECK(world.until([&] { return *first.ended && first.reply->finished; }));
        world.server.hub().tools_changed();
        CHECK(world.until([&] { return second.reply->events().size() == 1; }));
        CHECK(first.reply->events().size() == 1);
    }
    SUBCASE("what was missed comes after Last-Event-ID, and nothing of another stream") {
        Pending first(world, session.bare(http::Verb::get));
        REQUIRE(world.until([&] { return first.reply->streaming; }));
        world.server.hub().tools_changed();
        REQUIRE(world.until([&] { return first.reply->events().size() == 1; }));
        auto const last = first.reply->last_event_id();
        first.disconnect();
        REQUIRE(world.until([&] { return *first.ended; }));
        world.server.hub().tools_changed();
        CHECK(session.post(legacy_call(3, "chatty")).streaming);
        Pending again(world, session.bare(http::Verb::get, last));
        REQUIRE(world.until([&] { return !again.reply->events().empty(); }));
        world.server.hub().tools_changed();
        REQUIRE(world.until([&] { return again.reply->events().size() >= 2; }));
        for (auto const& event : again.reply->events())
            CHECK(event["method"] == "notifications/tools/list_changed");
        CHECK(world.ask(session.bare(http::Verb::get, "77-1")).code() == 400);
        CHECK(world.ask(session.bare(http::Verb::get, "x")).code() == 400);
    }
    SUBCASE("a call whose client went away is taken up where it was, question and result") {
        Pending lost(world, session.request(legacy_call(2, "ask", {{"text", "t"}})));
        REQUIRE(world.until([&] { return lost.reply->events().size() == 1; }));
        CHECK(lost.reply->body.starts_with("id: "));  // primed
        auto const last = lost.reply->last_event_id();
        auto const first = lost.reply->events()[0];
        lost.disconnect();
        REQUIRE(world.until([&] { return *lost.ended; }));
        auto const answer = [&](Json const& question, int x) {
            Json const result{{"action", "accept"}, {"content", {{"x", x}}}};
            CHECK(session.post(Json{{"jsonrpc", "2.0"}, {"id", question["id"]}, {"result", result}}).code() ==
                  202);
        };
        answer(first, 1);
        Pending again(world, session.bare(http::Verb::get, last));
        REQUIRE(world.until([&] { return again.reply->events().size() == 1; }));
        answer(again.reply->events()[0], 2);
        REQUIRE(world.until([&] { return *again.ended; }));
        CHECK(again.reply->finished);
        CHECK(text_of(again.reply->events().back()) == "t12null");
    }
}

TEST_CASE("sessions have a bound") {
    mcp::ServerOptions options;
    options.max_sessions = 2;
    World world(options);
    Session first(world), second(world);
    Pending busy(world, first.bare(http::Verb::get));
    REQUIRE(world.until([&] { return busy.reply->streaming; }));
    SUBCASE("the one idle longest gives way, not one in use") {
        Session third(world);
        CHECK(first.post(legacy_call(2, "echo")).code() == 200);
        CHECK(third.post(legacy_call(2, "echo")).code() == 200);
        CHECK(second.post(legacy_call(2, "echo")).code() == 404);
    }
    SUBCASE("when all are in use a new one is refused") {
        Pending also(world, second.bare(http::Verb::get));
        REQUIRE(world.until([&] { return also.reply->streaming; }));
        CHECK(world.ask(world.http_request(initialize(1))).code() == 503);
    }
}

TEST_CASE("an idle session is forgotten") {
    mcp::ServerOptions options;
    options.session_idle_limit = base::milliseconds(-1);
    World world(options);
    auto const opened = world.ask(world.http_request(initialize(1)));
    auto request = world.http_request(legacy_call(2, "echo"));
    request.fields.set("Mcp-Session-Id", opened.fields["Mcp-Session-Id"]);
    CHECK(world.ask(request).code() == 404);
}
