#include "client_fixture.hpp"

using namespace client_test;

TEST_CASE("the era is found out by asking") {
    SUBCASE("a modern server is asked once") {
        Rig rig;
        auto const facts = rig.open();
        REQUIRE(facts);
        CHECK(facts->era == mcp::Era::modern);
        CHECK(facts->version == "2026-07-28");
        CHECK(rig.server.count("initialize") == 0);
        auto const meta = rig.server.heard.front()["params"]["_meta"];
        CHECK(meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28");
        CHECK(meta["io.modelcontextprotocol/clientInfo"]["name"] == "test");
        CHECK(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    }
    SUBCASE("any error that is not modern means initialize") {
        for (int const code : {-32601, -32602, -32000, -32001}) {
            Rig rig(mcp::Era::legacy);
            rig.on_call = nullptr;
            auto const old = rig.server.on_message;
            rig.server.on_message = [&rig, old, code](Json const& message) {
                if (message["method"] == "server/discover") return rig.server.say(error(message["id"], code));
                old(message);
            };
            auto const facts = rig.open();
            REQUIRE(facts);
            CHECK(facts->era == mcp::Era::legacy);
            CHECK(facts->version == "2025-11-25");
            CHECK(facts->info["name"] == "fake");
            REQUIRE(rig.until([&] { return rig.server.count("notifications/initialized") == 1; }));
            CHECK_FALSE(rig.server.last("initialize")["params"].contains("_meta"));
        }
    }
    SUBCASE("so does an error that lost its id, as JSON-RPC has it") {
        Rig rig(mcp::Era::legacy);
        auto const old = rig.server.on_message;
        rig.server.on_message = [&rig, old](Json const& message) {
            if (message["method"] == "server/discover") return rig.server.say(error(nullptr, -32600));
            old(message);
        };
        REQUIRE(rig.open());
    }
    SUBCASE("so does silence, and the answer that still comes is ignored") {
        auto o = options();
        o.probe_limit = base::milliseconds(50);
        Rig rig(mcp::Era::legacy, o);
        auto const old = rig.server.on_message;
        Json probe;
        rig.server.on_message = [&](Json const& message) {
            if (message["method"] == "server/discover") {
                probe = message["id"];
                return;
            }
            if (message["method"] == "initialize") rig.server.say(error(probe, -32601));
            old(message);
        };
        auto const facts = rig.open();
        REQUIRE(facts);
        CHECK(facts->era == mcp::Era::legacy);
    }
    SUBCASE("an unsupported version is corrected, not taken for legacy") {
        Rig rig;
        auto const old = rig.server.on_message;
        rig.server.on_message = [&](Json const& message) {
            if (message["method"] == "server/discover" && rig.server.count("server/discover") == 1)
                return rig.server.say(
                    error(message["id"], -32022, {{"supported", {"2026-07-28"}}, {"requested", "x"}}));
            old(message);
        };
        auto const facts = rig.open();
        REQUIRE(facts);
        CHECK(facts->era == mcp::Era::modern);
    }
    SUBCASE("a server that names only older revisions is initialized with one of them") {
        Rig rig(mcp::Era::legacy);
        auto const old = rig.server.on_message;
        rig.server.on_message = [&](Json const& message) {
            if (message["method"] == "server/discover")
                return rig.server.say(
                    error(message["id"], -32022, {{"supported", {"2025-06-18"}}, {"requested", "x"}}));
            old(message);
        };
        REQUIRE(rig.open());
        CHECK(rig.server.last("initialize")["params"]["protocolVersion"] == "2025-06-18");
    }
    SUBCASE("a server that leaves on the probe says so, to be started again") {
        Rig rig;
        rig.server.on_message = [&](Json const&) { rig.server.hang_up(); };
        REQUIRE_FALSE(rig.open());
        CHECK(rig.client->ended_on_probe());
    }
    SUBCASE("a known era is not asked for") {
        auto o = options();
        o.era = mcp::Era::legacy;
        Rig rig(mcp::Era::legacy, o);
        REQUIRE(rig.open());
        CHECK(rig.server.count("server/discover") == 0);
    }
    SUBCASE("a revision that nobody knows is refused") {
        Rig rig(mcp::Era::legacy);
        rig.server.on_message = [&](Json const& message) {
            if (message["method"] == "initialize")
                return rig.server.say(result(message["id"], initialization(Json::object(), "2099-01-01")));
            rig.server.say(error(message["id"], -32601));
        };
        auto const facts = rig.open();
        REQUIRE_FALSE(facts);
        CHECK(mcp::to_string(facts.error()).find("2099-01-01") != std::string::npos);
    }
}

TEST_CASE("_meta is passed unaltered, but for the keys that are the protocol's") {
    for (auto const era : {mcp::Era::modern, mcp::Era::legacy}) {
        Rig rig(era);
        REQUIRE(rig.open());
        rig.on_call = [&](Json const& message, Json const& id) {
            if (message["method"] == "tools/call") rig.server.say(result(id, content("ok")));
        };
        CallOptions call;
        call.meta = {{"traceparent", "00-x"},
                     {"com.example/deep", {{"a", {1, 2.5, nullptr}}}},
                     {"progressToken", "theirs"},
                     {"io.modelcontextprotocol/protocolVersion", "forged"}};
        REQUIRE(rig.call(std::move(call)));
        auto const meta = rig.server.last("tools/call")["params"]["_meta"];
        CHECK(meta["traceparent"] == "00-x");
        CHECK(meta["com.example/deep"] == Json{{"a", {1, 2.5, nullptr}}});
        CHECK_FALSE(meta.contains("progressToken"));
        CHECK(meta.value("io.modelcontextprotocol/protocolVersion", "") ==
              (era == mcp::Era::modern ? "2026-07-28" : ""));
    }
}

TEST_CASE("the server's own error comes back as it is") {
    Rig rig;
    REQUIRE(rig.open());
    rig.on_call = [&](Json const&, Json const& id) { rig.server.say(error(id, -32602, {{"why", "x"}})); };
    auto const reply = rig.call("t");
    REQUIRE_FALSE(reply);
    REQUIRE(reply.error().rpc);
    CHECK(reply.error().rpc->code == -32602);
    CHECK(reply.error().rpc->data["why"] == "x");
}

TEST_CASE("progress reaches its call, and only when it increases") {
    Rig rig(mcp::Era::legacy);
    REQUIRE(rig.open());
    rig.on_call = [&](Json const& message, Json const& id) {
        if (message["method"] != "tools/call") return;
        auto const token = message["params"]["_meta"]["progressToken"];
        for (double const at : {1.0, 1.0, 0.5, 2.0})
            rig.server.say(
                notice("notifications/progress",
                       {{"progressToken", token}, {"progress", at}, {"total", 2}, {"message", "m"}}));
        rig.server.say(notice("notifications/progress", {{"progressToken", 999}, {"progress", 1}}));
        rig.server.say(notice("notifications/progress", {{"progressToken", token}, {"progress", "much"}}));
        rig.server.say(result(id, content("done")));
    };
    std::vector<double> seen;
    CallOptions call;
    call.on_progress = [&](mcp::Progress p) {
        seen.push_back(p.progress);
        CHECK(p.total == 2.0);
    };
    REQUIRE(rig.call(std::move(call)));
    CHECK(seen == std::vector<double>{1.0, 2.0});
}

TEST_CASE("cancelling the caller cancels at the server, once") {
    for (auto const era : {mcp::Era::modern, mcp::Era::legacy}) {
        Rig rig(era);
        REQUIRE(rig.open());
        auto const call = rig.start();
        REQUIRE(rig.until([&] { return rig.server.count("tools/call") == 1; }));
        call->cancel.emit(asio::cancellation_type::terminal);
        REQUIRE(rig.until([&] { return rig.server.count("notifications/cancelled") == 1; }));
        CHECK(rig.server.last("notifications/cancelled")["params"]["requestId"] ==
              rig.server.last("tools/call")["id"]);
        CHECK(rig.client->in_flight() == 0);
        CHECK(rig.client->usable());
    }
}

TEST_CASE("a legacy server's questions") {
    Rig rig(mcp::Era::legacy);
    REQUIRE(rig.open());
    Json const form{
        {"jsonrpc", "2.0"}, {"id", "q"}, {"method", "elicitation/create"}, {"params", {{"message", "?"}}}};
    Json answer;
    rig.on_call = [&](Json const& message, Json const& id) {
        if (message.contains("result") || message.contains("error")) answer = message;
        if (message.value("method", "") == "slow") rig.server.say(result(id, Json::object()));
    };
    SUBCASE("are answered by the events") {
        rig.events.answer = {{"action", "accept"}, {"content", {{"a", 1}}}};
        rig.server.say(form);
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(answer["id"] == "q");
        CHECK(answer["result"] == rig.events.answer);
    }
    SUBCASE("are refused as the events refuse them") {
        rig.server.say(form);
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(answer["error"]["code"] == -1);
    }
    SUBCASE("belong to the one call that is in flight") {
        int asked = 0;
        CallOptions call;
        call.on_question = [&](mcp::Question) -> Task<Json> {
            ++asked;
            co_return Json{{"action", "decline"}};
        };
        auto const running = rig.start(std::move(call));
        REQUIRE(rig.until([&] { return rig.server.count("tools/call") == 1; }));
        rig.server.say(form);
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(asked == 1);
        CHECK(answer["result"]["action"] == "decline");
    }
    SUBCASE("ping is answered, what is unknown refused") {
        rig.server.say({{"jsonrpc", "2.0"}, {"id", 1}, {"method", "ping"}});
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(answer["result"] == Json::object());
        answer = nullptr;
        rig.server.say({{"jsonrpc", "2.0"}, {"id", 2}, {"method", "shell/run"}});
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(answer["error"]["code"] == -32601);
    }
    SUBCASE("can be taken back") {
        rig.events.waits = true;
        rig.server.say(form);
        REQUIRE(rig.until([&] { return rig.events.asked.size() == 1; }));
        rig.server.say(notice("notifications/cancelled", {{"requestId", "q"}}));
        rig.events.waits = false;
        rig.events.answer = {{"action", "cancel"}};
        rig.server.say(form);  // the id is free again
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(rig.client->usable());
    }
    SUBCASE("are bounded") {
        rig.events.waits = true;
        for (int i = 0; i < 17; ++i) {
            auto one = form;
            one["id"] = i;
            rig.server.say(one);
        }
        REQUIRE(rig.until([&] { return !answer.is_null(); }));
        CHECK(answer["error"]["message"] == "Too many questions are open");
        CHECK(rig.events.asked.size() == 16);
    }
    SUBCASE("with an id that is open already are the server's fault") {
        rig.events.waits = true;
        rig.server.say(form);
        rig.server.say(form);
        REQUIRE(rig.until([&] { return !rig.events.failures.empty(); }));
        CHECK(rig.events.failures.front().find("asked twice") != std::string::npos);
    }
}

TEST_CASE("input-required rounds") {
    Rig rig;
    REQUIRE(rig.open());
    Json const ask{
        {"resultType", "input_required"},
        {"requestState", "opaque==x"},
        {"inputRequests", {{"k", {{"method", "elicitation/create"}, {"params", {{"message", "?"}}}}}}}};
    rig.events.answer = {{"action", "accept"}, {"content", {{"x", 1}}}};
    SUBCASE("come back with the answers, the exact state and a new id; neither leaks into the next") {
        std::vector<Json> calls;
        rig.on_call = [&](Json const& message, Json const& id) {
            calls.push_back(message);
            auto const second = Json{
                {"resultType", "input_required"},
                {"inputRequests", {{"r", {{"method", "elicitation/create"}, {"params", Json::object()}}}}}};
            rig.server.say(result(id, calls.size() == 1   ? ask
                                      : calls.size() == 2 ? second
                                                          : content("done")));
        };
        REQUIRE(rig.call("t"));
        REQUIRE(calls.size() == 3);
        CHECK(calls[1]["params"]["requestState"] == "opaque==x");
        CHECK(calls[1]["params"]["inputResponses"]["k"] == rig.events.answer);
        CHECK(calls[1]["params"]["name"] == "t");
        CHECK(calls[1]["id"] != calls[0]["id"]);
        CHECK_FALSE(calls[2]["params"].contains("requestState"));
        CHECK_FALSE(calls[2]["params"]["inputResponses"].contains("k"));
        CHECK(calls[2]["params"]["inputResponses"].contains("r"));
    }
    SUBCASE("are handed on to who asked for them raw") {
        rig.on_call = [&](Json const& message, Json const& id) {
            rig.server.say(result(id, message["params"].contains("requestState") ? content("done") : ask));
        };
        CallOptions raw;
        raw.raw_rounds = true;
        auto const first = rig.call(std::move(raw));
        REQUIRE(first);
        CHECK(*first == ask);
        CallOptions more;
        more.raw_rounds = true;
        more.request_state = "opaque==x";
        more.input_responses = {{"k", {{"action", "decline"}}}};
        auto const second = rig.call(std::move(more));
        REQUIRE(second);
        CHECK((*second)["content"][0]["text"] == "done");
        CHECK(rig.server.last("tools/call")["params"]["inputResponses"]["k"]["action"] == "decline");
    }
    SUBCASE("end when there are too many") {
        rig.on_call = [&](Json const&, Json const& id) { rig.server.say(result(id, ask)); };
        auto const reply = rig.call("t");
        REQUIRE_FALSE(reply);
        CHECK(base::is(reply.error().error, base::errc::limit));
        CHECK(rig.server.count("tools/call") == 17);
    }
    SUBCASE("are not for lists") {
        rig.on_call = [&](Json const&, Json const& id) { rig.server.say(result(id, ask)); };
        REQUIRE_FALSE(rig.io.run(rig.client->list_tools()));
    }
}

TEST_CASE("lists follow every cursor, the empty one too, and leave out what breaks a MUST") {
    Rig rig;
    REQUIRE(rig.open());
    auto const tool = [](std::string name) {
        return Json{{"name", std::move(name)}, {"inputSchema", {{"type", "object"}, {"x", {1}}}}};
    };
    rig.on_call = [&](Json const& message, Json const& id) {
        auto const& params = message["params"];
        if (!params.contains("cursor"))
            return rig.server.say(result(id, {{"tools", {tool("a")}}, {"nextCursor", ""}}));
        CHECK(params["cursor"] == "");
        rig.server.say(result(id, {{"tools", {tool("b"), tool("a"), {{"name", "c"}}, tool("")}}}));
    };
    auto const tools = rig.io.run(rig.client->list_tools());
    REQUIRE(tools);
    REQUIRE(tools->size() == 2);
    CHECK((*tools)[0] == tool("a"));
    CHECK((*tools)[1]["name"] == "b");
    CHECK(rig.events.dropped.at("c").find("inputSchema") != std::string::npos);
    CHECK(rig.events.dropped.at("a").find("twice") != std::string::npos);
    // What the server does not offer is not asked for.
    CHECK(rig.io.run(rig.client->list_prompts())->empty());
    CHECK(rig.server.count("prompts/list") == 0);
}

TEST_CASE("change notices") {
    SUBCASE("of a modern server come on a listen stream") {
        Json const offered{{"tools", {{"listChanged", true}}}, {"resources", {{"subscribe", true}}}};
        Rig rig(mcp::Era::modern, options(), offered);
        rig.on_call = [&](Json const& message, Json const& id) {
            if (message["method"] != "subscriptions/listen") return;
            auto honoured = message["params"]["notifications"];
            if (honoured.contains("resourceSubscriptions"))
                honoured["resourceSubscriptions"].erase(
                    std::remove(honoured["resourceSubscriptions"].begin(),
                                honoured["resourceSubscriptions"].end(), "no:thing"),
                    honoured["resourceSubscriptions"].end());
            rig.server.say(notice(
                "notifications/subscriptions/acknowledged",
                {{"notifications", honoured}, {"_meta", {{"io.modelcontextprotocol/subscriptionId", id}}}}));
        };
        REQUIRE(rig.open());
        REQUIRE(rig.until([&] { return rig.server.count("subscriptions/listen") == 1; }));
        auto const first = rig.server.last("subscriptions/listen")["id"];
        auto const told = [&](Json id) {
            rig.server.say(notice("notifications/tools/list_changed",
                                  {{"_meta", {{"io.modelcontextprotocol/subscriptionId", std::move(id)}}}}));
        };
        told(first);
        REQUIRE(rig.until([&] { return rig.events.tools == 1; }));
        REQUIRE(rig.io.run(rig.client->subscribe("file:///a")));
        auto const second = rig.server.last("subscriptions/listen");
        CHECK(second["params"]["notifications"]["resourceSubscriptions"] == Json{"file:///a"});
        REQUIRE(rig.until([&] { return rig.server.count("notifications/cancelled") == 1; }));
        CHECK(rig.server.last("notifications/cancelled")["params"]["requestId"] == first);
        told(first);  // over
        told("made up");
        rig.server.say(notice(
            "notifications/resources/updated",
            {{"uri", "file:///a"}, {"_meta", {{"io.modelcontextprotocol/subscriptionId", second["id"]}}}}));
        REQUIRE(rig.until([&] { return rig.events.updated.size() == 1; }));
        CHECK(rig.events.tools == 1);
        CHECK(rig.client->in_flight() == 0);
        auto const refused = rig.io.run(rig.client->subscribe("no:thing"));
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error().error, base::errc::invalid));
    }
    SUBCASE("of a legacy server come unasked") {
        Rig rig(mcp::Era::legacy, options(),
                {{"tools", {{"listChanged", true}}}, {"resources", {{"subscribe", true}}}});
        rig.on_call = [&](Json const& message, Json const& id) {
            if (!id.is_null() && message.contains("method")) rig.server.say(result(id, Json::object()));
        };
        REQUIRE(rig.open());
        REQUIRE(rig.io.run(rig.client->subscribe("file:///a")));
        CHECK(rig.server.last("resources/subscribe")["params"]["uri"] == "file:///a");
        rig.server.say(notice("notifications/tools/list_changed", Json::object()));
        rig.server.say(notice("notifications/resources/updated", {{"uri", "file:///a"}}));
        REQUIRE(rig.until([&] { return rig.events.tools == 1 && rig.events.updated.size() == 1; }));
    }
}

TEST_CASE("tasks are followed to their result") {
    SUBCASE("of a modern server, with its questions") {
        auto o = options();
        o.capabilities["extensions"]["io.modelcontextprotocol/tasks"] = Json::object();
        Rig rig(mcp::Era::modern, o);
        REQUIRE(rig.open());
        rig.events.answer = {{"action", "accept"}};
        Json const task{{"taskId", "t-1"}, {"status", "working"}, {"pollIntervalMs", 1}};
        int polls = 0;
        bool fed = false;
        rig.on_call = [&](Json const& message, Json const& id) {
            auto reply = task;
            reply["resultType"] = "complete";
            if (message["method"] == "tools/call") reply["resultType"] = "task";
            if (message["method"] == "tasks/update") {
                fed = message["params"]["inputResponses"]["k"]["action"] == "accept";
                return rig.server.say(result(id, {{"resultType", "complete"}}));
            }
            if (message["method"] == "tasks/get") {
                CHECK(message["params"]["taskId"] == "t-1");
                ++polls;
                if (polls == 1) {
                    reply["status"] = "input_required";
                    reply["inputRequests"] = {
                        {"k", {{"method", "elicitation/create"}, {"params", Json::object()}}}};
                } else if (fed) {
                    reply["status"] = "completed";
                    reply["result"] = content("late");
                }
            }
            rig.server.say(result(id, reply));
        };
        auto const reply = rig.call("t");
        REQUIRE(reply);
        CHECK((*reply)["content"][0]["text"] == "late");
        CHECK(fed);
    }
    SUBCASE("of a legacy server, when the caller wants one") {
        Rig rig(mcp::Era::legacy);
        REQUIRE(rig.open());
        rig.on_call = [&](Json const& message, Json const& id) {
            if (message["method"] == "tools/call") {
                CHECK(message["params"]["task"]["ttl"] == 60000);
                return rig.server.say(result(id, {{"task", {{"taskId", "x"}, {"status", "working"}}}}));
            }
            if (message["method"] == "tasks/get")
                return rig.server.say(result(id, {{"taskId", "x"}, {"status", "completed"}}));
            if (message["method"] == "tasks/result") return rig.server.say(result(id, content("fetched")));
        };
        CallOptions call;
        call.task_ttl = base::milliseconds(60'000);
        auto const reply = rig.call(std::move(call));
        REQUIRE(reply);
        CHECK((*reply)["content"][0]["text"] == "fetched");
    }
    SUBCASE("and cancelled with their call") {
        Rig rig;
        REQUIRE(rig.open());
        rig.on_call = [&](Json const& message, Json const& id) {
            rig.server.say(
                result(id, {{"resultType", message["method"] == "tools/call" ? "task" : "complete"},
                            {"taskId", "t"},
                            {"status", "working"},
                            {"pollIntervalMs", 1}}));
        };
        auto const call = rig.start();
        REQUIRE(rig.until([&] { return rig.server.count("tasks/get") > 1; }));
        call->cancel.emit(asio::cancellation_type::terminal);
        REQUIRE(rig.until([&] { return rig.server.count("tasks/cancel") == 1; }));
    }
}

TEST_CASE("close ends the server's input and fails what is in flight, without an event") {
    Rig rig;
    REQUIRE(rig.open());
    auto const call = rig.start();
    REQUIRE(rig.until([&] { return rig.server.count("tools/call") == 1; }));
    rig.io.run(rig.client->close());
    REQUIRE(rig.until([&] { return call->reply.has_value(); }));
    CHECK(base::is(call->reply->error().error, base::errc::unavailable));
    rig.io.context.restart();
    rig.io.context.poll();
    CHECK(rig.events.failures.empty());
    CHECK_FALSE(rig.client->usable());
}

TEST_CASE("defaults of a form fill what its answer leaves out") {
    Json const schema{
        {"properties", {{"a", {{"default", 1}}}, {"b", {{"default", "x"}}}, {"c", Json::object()}}}};
    CHECK(mcp::with_defaults({{"b", "y"}}, schema) == Json{{"a", 1}, {"b", "y"}});
    CHECK(mcp::with_defaults(nullptr, Json(nullptr)) == Json::object());
}
