#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

Json const kCanAnswer{{"elicitation", {{"form", Json::object()}}}};

Json answer(int x) { return {{"action", "accept"}, {"content", {{"x", x}}}}; }

Json round(Json id, Json state, Json responses, Json arguments = Json::object(),
           std::string tool_name = "ask") {
    auto message = call(std::move(id), std::move(tool_name), std::move(arguments), kCanAnswer);
    if (!state.is_null()) message["params"]["requestState"] = std::move(state);
    if (!responses.is_null()) message["params"]["inputResponses"] = std::move(responses);
    return message;
}

}  // namespace

TEST_CASE("questions of a modern call") {
    World world;
    auto const ask = [&](Json const& message, std::string principal = "alice") {
        return world.ask(world.modern_request(message, std::move(principal))).json();
    };
    Json const arguments{{"text", "t"}};
    auto const first = ask(round(1, nullptr, nullptr, arguments))["result"];
    REQUIRE(first["resultType"] == "input_required");
    CHECK(first["inputRequests"]["a"]["method"] == "elicitation/create");
    CHECK_FALSE(first.contains("ttlMs"));
    auto const state = first["requestState"];
    Json const a{{"a", answer(5)}};

    SUBCASE("are answered over as many rounds as the tool has") {
        auto const second = ask(round(2, state, a, arguments))["result"];
        REQUIRE(second["resultType"] == "input_required");
        CHECK(second["inputRequests"].size() == 1);
        CHECK(second["inputRequests"].contains("b"));
        CHECK(second["requestState"] != state);
        Json const b{{"b", answer(6)}, {"unknown", answer(7)}};
        auto const done = ask(round(3, second["requestState"], b, arguments));
        CHECK(done["result"]["resultType"] == "complete");
        CHECK(text_of(done) == "t562");
    }
    SUBCASE("are asked again when an answer is missing") {
        CHECK(ask(round(2, state, Json{{"wrong", answer(1)}}, arguments))["result"]["resultType"] ==
              "input_required");
        CHECK(ask(round(2, state, nullptr, arguments))["result"]["resultType"] == "input_required");
    }
    SUBCASE("refuse ill-formed answers") {
        for (Json const& bad :
             {Json{{"a", 5}}, Json{{"a", {{"action", "maybe"}}}},
              Json{{"a", {{"action", "accept"}, {"content", 1}}}}, Json("text"), Json::array({1})})
            CHECK(ask(round(2, state, bad, arguments))["error"]["code"] == -32602);
    }
    SUBCASE("refuse state that was altered, cut, or made for something else") {
        auto const text = state.get<std::string>();
        for (std::size_t i = 0; i < text.size(); i += 7) {
            auto altered = text;
            altered[i] = altered[i] == 'A' ? 'B' : 'A';
            CHECK(ask(round(2, altered, a, arguments))["error"]["code"] == -32602);
        }
        CHECK(ask(round(2, "", a, arguments))["error"]["code"] == -32602);
        CHECK(ask(round(2, 5, a, arguments))["error"]["code"] == -32602);
        CHECK(ask(round(2, text.substr(0, text.size() - 1), a, arguments))["error"]["code"] == -32602);
        CHECK(ask(round(2, state, a, arguments), "bob")["error"]["code"] == -32602);
        CHECK(ask(round(2, state, a, Json{{"text", "other"}}))["error"]["code"] == -32602);
    }
    SUBCASE("need the capability, and say which") {
        auto const refused = world.ask(world.modern_request(call(1, "ask")));
        CHECK(refused.code() == 400);
        CHECK(refused.json()["error"]["code"] == -32021);
        CHECK(refused.json()["error"]["data"]["requiredCapabilities"]["elicitation"].is_object());
    }
}

TEST_CASE("state has an end") {
    mcp::ServerOptions options;
    options.state_ttl = base::milliseconds(-1);
    World world(options);
    Json const arguments{{"text", "t"}};
    auto const first =
        world.ask(world.modern_request(round(1, nullptr, nullptr, arguments))).json()["result"];
    Json const a{{"a", answer(5)}};
    auto const second = world.ask(world.modern_request(round(2, first["requestState"], a, arguments)));
    CHECK(second.json()["error"]["code"] == -32602);
}

TEST_CASE("questions of a legacy call on stdio") {
    World world;
    Pipe pipe(world);
    Json const capabilities{{"elicitation", Json::object()}};
    pipe.ask(initialize(1, "2025-06-18", capabilities));
    pipe.send(legacy_call(2, "ask", {{"text", "t"}}));
    auto const a = pipe.next();
    CHECK(a["method"] == "elicitation/create");
    SUBCASE("are requests of ours") {
        pipe.send(Json{{"jsonrpc", "2.0"}, {"id", a["id"]}, {"result", answer(1)}});
        auto const b = pipe.next();
        CHECK(b["id"] != a["id"]);
        pipe.send(Json{{"jsonrpc", "2.0"}, {"id", b["id"]}, {"result", answer(2)}});
        CHECK(text_of(pipe.next()) == "t12null");
    }
    SUBCASE("pass the client's error on") {
        pipe.send(Json{{"jsonrpc", "2.0"}, {"id", a["id"]}, {"error", {{"code", -1}, {"message", "no"}}}});
        auto const failed = pipe.next();
        CHECK(failed["id"] == 2);
        CHECK(failed["error"]["code"] == -1);
    }
    SUBCASE("are withdrawn when their call is cancelled") {
        pipe.send(
            Json{{"jsonrpc", "2.0"}, {"method", "notifications/cancelled"}, {"params", {{"requestId", 2}}}});
        auto const withdrawn = pipe.next();
        CHECK(withdrawn["method"] == "notifications/cancelled");
        CHECK(withdrawn["params"]["requestId"] == a["id"]);
        CHECK(pipe.quiet());
    }
}

TEST_CASE("a legacy client that cannot answer is not asked") {
    World world;
    Pipe pipe(world);
    pipe.ask(initialize(1));
    CHECK(pipe.ask(legacy_call(2, "ask"))["error"]["code"] == -32600);
}
