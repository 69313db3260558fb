#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

Json const kTasks{{"extensions", {{"io.modelcontextprotocol/tasks", Json::object()}}},
                  {"elicitation", Json::object()}};

Json task_request(std::string method, std::string id, Json more = Json::object()) {
    more["taskId"] = std::move(id);
    return modern(9, std::move(method), std::move(more), kTasks);
}

mcp::ServerOptions quick() {
    mcp::ServerOptions options;
    options.task_after = base::milliseconds(1);
    return options;
}

}  // namespace

TEST_CASE("a long call becomes a task") {
    World world(quick());
    auto const ask = [&](Json const& message, std::string principal = "alice") {
        return world.ask(world.modern_request(message, std::move(principal))).json();
    };
    auto const created = ask(call(1, "job", Json::object(), kTasks))["result"];
    REQUIRE(created["resultType"] == "task");
    CHECK(created["status"] == "working");
    CHECK(created["ttlMs"].is_number_integer());
    auto const id = created["taskId"].get<std::string>();
    SUBCASE("that can be looked at at once and cancelled") {
        CHECK(ask(task_request("tasks/get", id))["result"]["status"] == "working");
        CHECK(ask(task_request("tasks/cancel", id))["result"]["resultType"] == "complete");
        CHECK(ask(task_request("tasks/get", id))["result"]["status"] == "cancelled");
        CHECK(world.until([&] { return world.seen->cancelled == 1; }));
        CHECK(ask(task_request("tasks/cancel", id)).contains("result"));
    }
    SUBCASE("that only its caller finds") {
        auto const unknown = ask(task_request("tasks/get", "none"))["error"];
        CHECK(unknown["code"] == -32602);
        for (auto const* method : {"tasks/get", "tasks/cancel", "tasks/update"})
            CHECK(ask(task_request(method, id, {{"inputResponses", Json::object()}}), "bob")["error"] ==
                  unknown);
        CHECK(world.seen->cancelled == 0);
    }
    SUBCASE("that needs the extension") {
        auto message = task_request("tasks/get", id);
        message["params"]["_meta"] = modern_meta();
        CHECK(ask(message)["error"]["code"] == -32021);
    }
    SUBCASE("that outlives nobody when the server stops") {
        world.io.run(world.server.stop());
        CHECK(world.seen->cancelled == 1);
    }
}

TEST_CASE("a call stays a call") {
    World world(quick());
    SUBCASE("without the extension") {
        auto const done = world.ask(world.modern_request(call(1, "job", {{"ms", 30}})));
        CHECK(text_of(done.json()) == "waited");
    }
    SUBCASE("when all places are taken by running tasks") {
        auto options = quick();
        options.max_tasks = 1;
        World full(options);
        CHECK(full.ask(full.modern_request(call(1, "job", Json::object(), kTasks)))
                  .json()["result"]["resultType"] == "task");
        auto const done = full.ask(full.modern_request(call(1, "job", {{"ms", 30}}, kTasks)));
        CHECK(text_of(done.json()) == "waited");
    }
}

TEST_CASE("a task that asks") {
    World world;
    auto const ask = [&](Json const& message) { return world.ask(world.modern_request(message)).json(); };
    CHECK(ask(call(1, "late"))["error"]["code"] == -32021);
    auto const id = ask(call(1, "late", {{"text", "t"}}, kTasks))["result"]["taskId"].get<std::string>();
    auto const status = [&] { return ask(task_request("tasks/get", id))["result"]; };
    auto const answer = [&](char const* key, int x) {
        Json const responses{{key, {{"action", "accept"}, {"content", {{"x", x}}}}}};
        return ask(task_request("tasks/update", id, {{"inputResponses", responses}}));
    };
    CHECK(status()["status"] == "input_required");
    CHECK(status()["inputRequests"].contains("a"));
    CHECK(answer("other", 1).contains("result"));
    CHECK(status()["inputRequests"].contains("a"));
    CHECK(answer("a", 1).contains("result"));
    REQUIRE(world.until([&] { return status()["inputRequests"].contains("b"); }));
    CHECK(answer("b", 2).contains("result"));
    REQUIRE(world.until([&] { return status()["status"] == "completed"; }));
    CHECK(status()["result"]["content"][0]["text"] == "t12null");
}
