#include "mcp_fixture.hpp"

using namespace mcp_test;

TEST_CASE("era on stdio") {
    World world;
    Pipe pipe(world);
    SUBCASE("a claim makes a message modern, whatever its method") {
        auto const found = pipe.ask(modern(1, "server/discover"));
        CHECK(found["result"]["resultType"] == "complete");
        CHECK(found["result"]["supportedVersions"][0] == "2026-07-28");
        CHECK(found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "test");
        for (auto const* method : {"initialize", "ping", "logging/setLevel", "resources/subscribe"})
            CHECK(pipe.ask(modern(2, method))["error"]["code"] == -32601);
    }
    SUBCASE("both eras are alive on one connection") {
        CHECK(pipe.ask(initialize(1))["result"]["protocolVersion"] == "2025-11-25");
        pipe.send(Json{{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}});
        auto const legacy = pipe.ask(legacy_call(2, "echo", {{"text", "old"}}));
        CHECK(text_of(legacy) == "local:old");
        CHECK_FALSE(legacy["result"].contains("resultType"));
        auto const modern_answer = pipe.ask(call(3, "echo", {{"text", "new"}}));
        CHECK(modern_answer["result"]["resultType"] == "complete");
        CHECK(pipe.ask(request(4, "ping", Json::object()))["result"] == Json::object());
        CHECK(pipe.ask(request(5, "server/discover", Json::object()))["error"]["code"] == -32602);
    }
    SUBCASE("initialize answers a version it has, else the newest legacy one") {
        CHECK(pipe.ask(initialize(1, "2026-07-28"))["result"]["protocolVersion"] == "2025-11-25");
        CHECK(pipe.ask(initialize(2))["error"]["code"] == -32600);
        Pipe other(world);
        CHECK(other.ask(initialize(1, "2025-03-26"))["result"]["protocolVersion"] == "2025-03-26");
    }
    SUBCASE("before initialize only ping is answered") {
        CHECK(pipe.ask(request(1, "ping", Json::object()))["result"] == Json::object());
        CHECK(pipe.ask(legacy_call(2, "echo"))["error"]["code"] == -32600);
    }
    SUBCASE("an envelope that lacks what it must have is refused") {
        auto message = modern(1, "tools/list");
        message["params"]["_meta"].erase("io.modelcontextprotocol/clientCapabilities");
        CHECK(pipe.ask(message)["error"]["code"] == -32602);
        message = modern(1, "tools/list");
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "1900-01-01";
        auto const refused = pipe.ask(message)["error"];
        CHECK(refused["code"] == -32022);
        CHECK(refused["data"]["requested"] == "1900-01-01");
        CHECK(refused["data"]["supported"][0] == "2026-07-28");
    }
    SUBCASE("progress needs a token and log messages a level") {
        CHECK(text_of(pipe.ask(call(1, "chatty"))) == "said");
        auto loud = call(2, "chatty");
        loud["params"]["_meta"]["progressToken"] = "p";
        loud["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = "info";
        auto const progress = pipe.ask(loud);
        CHECK(progress["method"] == "notifications/progress");
        CHECK(progress["params"]["progressToken"] == "p");
        auto const log = pipe.next();
        CHECK(log["method"] == "notifications/message");
        CHECK(log["params"]["data"] == "loud");
        CHECK(text_of(pipe.next()) == "said");
    }
}

TEST_CASE("era over HTTP") {
    World world;
    SUBCASE("a modern call without events is answered by plain JSON, one with events by a stream") {
        auto const plain = world.ask(world.modern_request(call(1, "chatty")));
        CHECK(plain.sent);
        CHECK(plain.fields["Content-Type"] == "application/json");
        auto message = call("two", "chatty");
        message["params"]["_meta"]["progressToken"] = 7;
        auto const streamed = world.ask(world.modern_request(message));
        CHECK(streamed.streaming);
        CHECK(streamed.finished);
        auto const events = streamed.events();
        REQUIRE(events.size() == 2);
        CHECK(events[0]["params"]["progressToken"] == 7);
        CHECK(events[1]["id"] == "two");
    }
    SUBCASE("unknown methods are 404, a missing envelope 400") {
        CHECK(world.ask(world.modern_request(modern(1, "unknown/method"))).code() == 404);
        CHECK(world.ask(world.modern_request(modern(1, "initialize"))).code() == 404);
        auto bare = world.modern_request(request(1, "tools/list", Json::object()));
        auto const refused = world.ask(bare);
        CHECK(refused.code() == 400);
        CHECK(refused.json()["error"]["code"] == -32602);
        CHECK(refused.json()["id"] == 1);
    }
    SUBCASE("legacy requests need a session") {
        CHECK(world.ask(world.http_request(legacy_call(1, "echo"))).code() == 400);
        auto const opened = world.ask(world.http_request(initialize(1)));
        auto request = world.http_request(legacy_call(2, "echo", {{"text", "x"}}));
        request.fields.set("Mcp-Session-Id", opened.fields["Mcp-Session-Id"]);
        CHECK(text_of(world.ask(request).json()) == "alice:x");
        request.fields.set("MCP-Protocol-Version", "2024-01-01");
        CHECK(world.ask(request).code() == 400);
    }
    SUBCASE("GET and DELETE are not modern, and what is neither JSON nor acceptable is refused") {
        http::Request get;
        get.verb = http::Verb::get;
        get.fields.set("MCP-Protocol-Version", "2026-07-28");
        CHECK(world.ask(get).code() == 405);
        auto request = world.modern_request(call(1, "echo"));
        request.fields.set("Content-Type", "text/plain");
        CHECK(world.ask(request).code() == 415);
        request = world.modern_request(call(1, "echo"));
        request.fields.set("Accept", "text/html");
        CHECK(world.ask(request).code() == 406);
    }
    SUBCASE("toolsets of the query choose the tools") {
        auto request = world.modern_request(call(1, "rare", {{"text", "x"}}));
        CHECK(world.ask(request).json()["error"]["code"] == -32602);
        request.query = "a=b&toolsets=core%2Cextra";
        CHECK(text_of(world.ask(request).json()) == "alice:x");
        auto list = world.modern_request(modern(1, "tools/list"));
        list.query = "toolsets=extra";
        auto const tools = world.ask(list).json()["result"]["tools"];
        REQUIRE(tools.size() == 1);
        CHECK(tools[0]["name"] == "rare");
    }
}

TEST_CASE("tools/list pages") {
    mcp::ServerOptions options;
    options.page_size = 2;
    World world(options);
    std::vector<std::string> names;
    Json params = Json::object();
    for (int i = 0; i < 10; ++i) {
        auto const result = world.ask(world.modern_request(modern(1, "tools/list", params))).json()["result"];
        CHECK(result["ttlMs"].is_number_integer());
        for (auto const& tool : result["tools"]) names.push_back(tool["name"]);
        if (!result.contains("nextCursor")) break;
        params["cursor"] = result["nextCursor"];
    }
    CHECK(names == std::vector<std::string>{"echo", "wait", "chatty", "ask", "job", "late"});
    SUBCASE("a cursor belongs to its caller and is refused when altered") {
        auto const first = world.ask(world.modern_request(modern(1, "tools/list"))).json()["result"];
        Json const theirs{{"cursor", first["nextCursor"]}};
        CHECK(
            world.ask(world.modern_request(modern(1, "tools/list", theirs), "bob")).json()["error"]["code"] ==
            -32602);
        Json const altered{{"cursor", first["nextCursor"].get<std::string>() + "A"}};
        CHECK(world.ask(world.modern_request(modern(1, "tools/list", altered))).json()["error"]["code"] ==
              -32602);
    }
}
