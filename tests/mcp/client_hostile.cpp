#include "client_fixture.hpp"

using namespace client_test;

namespace {

// What a server may do to a connection that has a call in flight. `bytes` is written instead of the answer; @
// is the call's id.
struct Act {
    char const* what;
    std::string bytes;
    char const* reason;
};

std::string nested(int depth) {
    return R"({"jsonrpc":"2.0","id":@,"result":)" + std::string(depth, '[') + std::string(depth, ']') + "}\n";
}

std::vector<Act> const acts{
    {"writes text that is no JSON", "Starting the server...\n", "no message (not valid JSON"},
    {"writes half a message and another", "{\"jsonrpc\":\n{}\n", "no message"},
    {"writes a batch", "[{\"jsonrpc\":\"2.0\",\"id\":@,\"result\":{}}]\n", "batches are not supported"},
    {"writes a key twice", "{\"jsonrpc\":\"2.0\",\"id\":@,\"id\":@,\"result\":{}}\n", "duplicate key"},
    {"writes bytes that are no UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":@,\"result\":{\"a\":\"\xff\"}}\n",
     "not valid JSON"},
    {"nests without end", nested(100), "nested deeper"},
    {"writes an endless line", std::string(80'000, 'x'), "a line of more than 65536 bytes"},
    {"writes a line over the limit", std::string(70'000, ' ') + "{}\n", "larger than 65536 bytes"},
    {"answers a request never made", "{\"jsonrpc\":\"2.0\",\"id\":4711,\"result\":{}}\n",
     "never made, id \"4711\""},
    {"answers with the id as text", "{\"jsonrpc\":\"2.0\",\"id\":\"@\",\"result\":{}}\n", "never made"},
    {"answers id zero", "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n", "never made"},
    {"answers without an id", "{\"jsonrpc\":\"2.0\",\"result\":{}}\n", "a result needs an id"},
    {"answers with a result that is no object", "{\"jsonrpc\":\"2.0\",\"id\":@,\"result\":7}\n",
     "a result is an object"},
    {"answers with result and error",
     "{\"jsonrpc\":\"2.0\",\"id\":@,\"result\":{},\"error\":{\"code\":1,\"message\":\"\"}}\n",
     "either a result or an error"},
    {"answers with an error that is none", "{\"jsonrpc\":\"2.0\",\"id\":@,\"error\":\"no\"}\n",
     "integer code"},
    {"speaks another protocol", "{\"jsonrpc\":\"1.0\",\"id\":@,\"result\":{}}\n", "jsonrpc"},
    {"sends a request, which its era does not have", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n",
     "sent a request"},
    {"writes nothing but empty lines", std::string(1500, '\n'), "empty lines"},
};

}  // namespace

TEST_CASE("a hostile server fails its own connection, and the reason names the cause") {
    for (auto const& act : acts) {
        CAPTURE(act.what);
        auto o = options();
        o.max_message_bytes = 65536;
        Rig rig(mcp::Era::modern, o);
        REQUIRE(rig.open());
        rig.on_call = [&](Json const& message, Json const& id) {
            if (message["method"] != "tools/call") return;
            auto bytes = act.bytes;
            for (auto at = bytes.find('@'); at != bytes.npos; at = bytes.find('@'))
                bytes.replace(at, 1, base::dump(id));
            rig.server.say_bytes(bytes);
        };
        auto const reply = rig.call("t");
        REQUIRE_FALSE(reply);
        CHECK(base::is(reply.error().error, base::errc::unavailable));
        CHECK(reply.error().may_have_run);
        CHECK_MESSAGE(mcp::to_string(reply.error()).find(act.reason) != std::string::npos,
                      mcp::to_string(reply.error()));
        REQUIRE(rig.until([&] { return !rig.events.failures.empty(); }));
        CHECK(rig.events.failures.size() == 1);
        CHECK_FALSE(rig.client->usable());
        // Nothing is sent again, and nothing new is sent at all.
        auto const again = rig.call("t");
        REQUIRE_FALSE(again);
        CHECK_FALSE(again.error().may_have_run);
        CHECK(rig.server.count("tools/call") == 1);
    }
}

TEST_CASE("garbage before the first line fails the opening") {
    Rig rig;
    rig.server.say_bytes("npm warn something\n");
    auto const opened = rig.open();
    REQUIRE_FALSE(opened);
    CHECK(mcp::to_string(opened.error()).find("npm warn something") != std::string::npos);
}

TEST_CASE("two answers to one request fail the connection, and the call has the first") {
    Rig rig;
    REQUIRE(rig.open());
    rig.on_call = [&](Json const&, Json const& id) {
        rig.server.say(result(id, content("first")));
        rig.server.say(result(id, content("second")));
    };
    auto const reply = rig.call("t");
    REQUIRE(rig.until([&] { return !rig.events.failures.empty(); }));
    CHECK(rig.events.failures.front().find("answered a request twice") != std::string::npos);
    if (reply) CHECK((*reply)["content"][0]["text"] == "first");
}

TEST_CASE("a flood of notifications ends the connection") {
    auto o = options();
    o.max_unsolicited_per_second = 10;
    Rig rig(mcp::Era::modern, o);
    REQUIRE(rig.open());
    auto const line = base::dump(notice("notifications/message", {{"level", "info"}, {"data", "x"}})) + '\n';
    std::string flood;
    for (int i = 0; i < 1000; ++i) flood += line;
    rig.on_call = [&](Json const&, Json const&) { rig.server.say_bytes(flood); };
    auto const reply = rig.call("t");
    REQUIRE_FALSE(reply);
    CHECK(mcp::to_string(reply.error()).find("floods") != std::string::npos);
}

TEST_CASE("every call in flight fails once when the server ends, and says whether it may have run") {
    Rig rig;
    REQUIRE(rig.open());
    auto const a = rig.start(), b = rig.start();
    REQUIRE(rig.until([&] { return rig.server.count("tools/call") == 2; }));
    CHECK(rig.client->in_flight() == 2);
    rig.server.say_bytes("{\"jsonrpc\":\"2.0\",\"id\":");
    rig.server.hang_up();
    REQUIRE(rig.until([&] { return a->reply && b->reply; }));
    for (auto const& beside : {a, b}) {
        REQUIRE_FALSE(*beside->reply);
        CHECK(beside->reply->error().may_have_run);
        CHECK(beside->reply->error().error.context.find("ended its output in the middle of a message") !=
              std::string::npos);
    }
    CHECK(rig.client->in_flight() == 0);
}

TEST_CASE("silence fails the call alone, and its late answer harms nobody") {
    Rig rig;
    REQUIRE(rig.open());
    Json late;
    rig.on_call = [&](Json const& message, Json const& id) {
        if (message["method"] != "tools/call") return;
        if (late.is_null()) {
            late = id;
        } else {
            rig.server.say(result(late, content("late")));
            rig.server.say(result(id, content("in time")));
        }
    };
    CallOptions quick;
    quick.limit = base::milliseconds(50);
    auto const silent = rig.call(std::move(quick));
    REQUIRE_FALSE(silent);
    CHECK(base::is(silent.error().error, base::errc::timed_out));
    CHECK(silent.error().may_have_run);
    auto const next = rig.call("t");
    REQUIRE(next);
    CHECK((*next)["content"][0]["text"] == "in time");
    CHECK(rig.server.last("notifications/cancelled")["params"]["requestId"] == late);
    CHECK(rig.client->usable());
}

TEST_CASE("a server that reads nothing makes calls fail as busy, not memory grow") {
    auto o = options();
    o.max_queued_bytes = 1 << 20;
    Rig rig(mcp::Era::modern, o);
    REQUIRE(rig.open());
    rig.server.socket.cancel();  // it stops reading
    rig.io.context.poll();
    auto const big = std::string(300'000, 'x');
    std::optional<mcp::Failure> refused;
    std::vector<std::shared_ptr<Rig::Beside>> calls;
    for (int i = 0; i < 20 && !refused; ++i) {
        CallOptions call;
        call.meta = {{"pad", big}};
        calls.push_back(rig.start(std::move(call)));
        rig.io.context.restart();
        rig.io.context.poll();
        if (calls.back()->reply) refused = calls.back()->reply->error();
    }
    REQUIRE(refused);
    CHECK(base::is(refused->error, base::errc::busy));
    CHECK_FALSE(refused->may_have_run);
}

TEST_CASE("in-flight calls are bounded") {
    auto o = options();
    o.max_in_flight = 2;
    Rig rig(mcp::Era::modern, o);
    REQUIRE(rig.open());
    auto const a = rig.start(), b = rig.start();
    REQUIRE(rig.until([&] { return rig.server.count("tools/call") == 2; }));
    auto const third = rig.call("t");
    REQUIRE_FALSE(third);
    CHECK(base::is(third.error().error, base::errc::busy));
}

TEST_CASE("answers of the wrong shape fail their call, and only that") {
    std::vector<std::pair<Json, char const*>> const shapes{
        {Json::object(), "no content"},
        {{{"content", "x"}}, "no content"},
        {{{"content", Json::array({1})}}, "no content"},
        {{{"content", Json::array({Json::object()})}}, "without a type"},
        {{{"content", Json::array()}, {"isError", "yes"}}, "no boolean"},
        {{{"content", Json::array()}, {"resultType", "surprise"}}, "unknown kind"},
        {{{"content", Json::array()}, {"resultType", 7}}, "unknown kind"},
        {{{"resultType", "input_required"}}, "does not say which"},
        {{{"resultType", "input_required"}, {"requestState", 7}}, "no string"},
        {{{"resultType", "input_required"}, {"inputRequests", {{"a", {{"method", "shell/run"}}}}}},
         "something unknown"},
        {{{"resultType", "input_required"},
          {"inputRequests", {{"a", {{"method", "sampling/createMessage"}}}}}},
         "not offered"},
        {{{"resultType", "task"}}, "without an id"},
    };
    Rig rig;
    REQUIRE(rig.open());
    for (auto const& [shape, why] : shapes) {
        CAPTURE(base::dump(shape));
        rig.on_call = [&](Json const&, Json const& id) { rig.server.say(result(id, shape)); };
        auto const reply = rig.call("t");
        REQUIRE_FALSE(reply);
        CHECK(base::is(reply.error().error, base::errc::invalid));
        CHECK_MESSAGE(mcp::to_string(reply.error()).find(why) != std::string::npos,
                      mcp::to_string(reply.error()));
    }
    CHECK(rig.client->usable());
    CHECK(rig.events.failures.empty());
}

TEST_CASE("lists are bounded in pages and entries") {
    auto o = options();
    o.max_pages = 3;
    o.max_items = 5;
    Rig rig(mcp::Era::modern, o);
    REQUIRE(rig.open());
    int per_page = 1;
    rig.on_call = [&](Json const&, Json const& id) {
        Json tools = Json::array();
        for (int i = 0; i < per_page; ++i)
            tools.push_back({{"name", "t" + std::to_string(i)}, {"inputSchema", {{"type", "object"}}}});
        rig.server.say(result(id, {{"tools", tools}, {"nextCursor", ""}, {"resultType", "complete"}}));
    };
    auto const endless = rig.io.run(rig.client->list_tools());
    REQUIRE_FALSE(endless);
    CHECK(mcp::to_string(endless.error()).find("more than 3 pages") != std::string::npos);
    per_page = 6;
    auto const many = rig.io.run(rig.client->list_tools());
    REQUIRE_FALSE(many);
    CHECK(mcp::to_string(many.error()).find("more than 5 tools") != std::string::npos);
}
