#include "client_fixture.hpp"
#include <http/client_origin.hpp>
#include <http/server.hpp>
#include <mcp/server.hpp>

using namespace client_test;

namespace {

http::GateOptions open_gate() {
    http::GateOptions gate;
    gate.hosts = {"localhost", "127.0.0.1"};
    return gate;
}

http::Route route(std::string path, http::Handler handler) {
    http::Route out;
    out.path = std::move(path);
    out.verbs = {http::Verb::post, http::Verb::get, http::Verb::delete_};
    out.access = http::Access::open;
    out.max_body = 1 << 20;
    out.handler = std::move(handler);
    return out;
}

Task<void> answer(http::Reply& reply, Json body, unsigned status = 200, std::string session = "") {
    http::Fields fields;
    fields.set("Content-Type", "application/json");
    if (!session.empty()) fields.set("MCP-Session-Id", session);
    auto text = body.is_null() ? std::string() : base::dump(body);
    co_await reply.send(static_cast<http::Status>(status), std::move(fields), std::move(text));
}

Task<void> begin_events(http::Reply& reply) {
    http::Fields fields;
    fields.set("Content-Type", "text/event-stream");
    co_await reply.begin(http::Status::ok, std::move(fields));
}

struct Web {
    explicit Web(http::Handler handler)
        : server(io.context, open_gate(), {}, {route("/*", std::move(handler))}) {
        port = server.listen("127.0.0.1", 0).value().port();
    }
    ~Web() {
        client.reset();
        io.run(server.stop(base::milliseconds(0)));
    }
    mcp::Client& connect(mcp::ClientOptions o = options(), std::string path = "/mcp",
                         mcp::HttpServer::Transport transport = mcp::HttpServer::Transport::automatic) {
        mcp::HttpServer where;
        where.url = "http://127.0.0.1:" + std::to_string(port) + path;
        where.transport = transport;
        where.headers.emplace_back("X-Key", base::Secret("k"));
        client.emplace(io.context, std::move(where), std::move(o), events);
        return *client;
    }
    Reply call(std::string name, Json arguments = Json::object(), CallOptions o = CallOptions()) {
        return io.run(client->call_tool(std::move(name), std::move(arguments), std::move(o)));
    }
    template <class Done>
    bool until(Done done) {
        auto const end = base::Clock::now() + std::chrono::minutes(1);
        io.context.restart();
        while (!done()) {
            if (base::Clock::now() > end) return false;
            io.context.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }

    testing_support::Io io;
    Events events;
    http::Server server;
    std::uint16_t port = 0;
    std::optional<mcp::Client> client;
};

/// A scripted endpoint: what it heard, and what it says to each message.
struct Script {
    std::vector<Json> heard;
    std::vector<http::Request> requests;
    std::function<Task<void>(Json message, http::Request const&, http::Reply&)> on_post;
    std::function<Task<void>(http::Request const&, http::Reply&)> on_get;

    http::Handler handler() {
        return [this](http::Request request, http::Reply& reply) -> Task<void> {
            requests.push_back(request);
            if (request.verb != http::Verb::post) {
                if (on_get && request.verb == http::Verb::get) {
                    co_await on_get(request, reply);
                } else {
                    co_await answer(reply, nullptr, 405);
                }
                co_return;
            }
            auto message = base::parse_json(request.body).value();
            heard.push_back(message);
            if (on_post) co_await on_post(message, request, reply);
        };
    }
    std::size_t count(std::string const& method) const {
        return static_cast<std::size_t>(std::count_if(
            heard.begin(), heard.end(), [&](Json const& m) { return m.value("method", "") == method; }));
    }
};

mcp::Tool tool(std::string name, std::function<Task<mcp::ToolResult>(Json, mcp::Call&)> run) {
    mcp::Tool out;
    out.definition = {{"name", name}, {"description", name}, {"inputSchema", {{"type", "object"}}}};
    out.name = std::move(name);
    out.run = std::move(run);
    return out;
}

Json form() {
    return {{"mode", "form"},
            {"message", "?"},
            {"requestedSchema", {{"type", "object"}, {"properties", Json::object()}}}};
}

mcp::Features features() {
    mcp::Features out;
    out.name = "ours";
    out.version = "1";
    out.state_key = "a key for tests";
    out.tools.push_back(tool("echo", [](Json arguments, mcp::Call& call) -> Task<mcp::ToolResult> {
        call.progress(1, 2.0, "half");
        co_return mcp::ToolResult::text(arguments.value("text", ""));
    }));
    auto mirrored = tool("mirrored", [](Json arguments, mcp::Call&) -> Task<mcp::ToolResult> {
        co_return mcp::ToolResult::text(arguments.value("where", ""));
    });
    mirrored.definition["inputSchema"]["properties"]["where"] = {{"type", "string"},
                                                                 {"x-mcp-header", "Where"}};
    out.tools.push_back(std::move(mirrored));
    out.tools.push_back(tool("ask", [](Json, mcp::Call& call) -> Task<mcp::ToolResult> {
        std::vector<mcp::Question> questions;
        mcp::Question question;
        question.key = "k";
        question.method = "elicitation/create";
        question.params = form();
        questions.push_back(std::move(question));
        auto const answers = co_await call.ask(std::move(questions));
        co_return mcp::ToolResult::text(base::dump(answers.at("k")["content"]));
    }));
    out.tools.push_back(tool("wait", [](Json, mcp::Call&) -> Task<mcp::ToolResult> {
        co_await base::sleep_for(std::chrono::hours(1));
        co_return mcp::ToolResult::text("");
    }));
    return out;
}

}  // namespace

TEST_CASE("our own server, in both eras over HTTP") {
    for (auto const era : {mcp::Era::modern, mcp::Era::legacy}) {
        std::optional<mcp::Server> served;
        Web web([&](http::Request request, http::Reply& reply) -> Task<void> {
            request.principal.name = "tester";
            co_await served->http_handler()(std::move(request), reply);
        });
        served.emplace(web.io.context, features());
        auto o = options();
        if (era == mcp::Era::legacy) o.era = era;
        auto& client = web.connect(o);
        auto const facts = web.io.run(client.open());
        REQUIRE(facts);
        CHECK(facts->era == era);
        auto const tools = web.io.run(client.list_tools());
        REQUIRE(tools);
        CHECK(tools->size() == 4);
        CHECK(web.events.dropped.empty());

        std::vector<double> seen;
        CallOptions watched;
        watched.on_progress = [&](mcp::Progress p) { seen.push_back(p.progress); };
        auto const echoed = web.call("echo", {{"text", "hello"}}, std::move(watched));
        REQUIRE(echoed);
        CHECK((*echoed)["content"][0]["text"] == "hello");
        CHECK(seen == std::vector<double>{1.0});

        // Characters that a header cannot have, mirrored into one all the same.
        REQUIRE(web.call("mirrored", {{"where", " Zürich\n"}}));

        web.events.answer = {{"action", "accept"}, {"content", {{"x", 1}}}};
        auto const asked = web.call("ask");
        REQUIRE(asked);
        CHECK((*asked)["content"][0]["text"] == R"({"x":1})");

        // A change notice, on the listen stream or the GET stream, once that is open.
        REQUIRE(web.until([&] {
            served->hub().tools_changed();
            return web.events.tools > 0;
        }));

        CallOptions quick;
        quick.limit = base::milliseconds(50);
        auto const slow = web.call("wait", Json::object(), std::move(quick));
        REQUIRE_FALSE(slow);
        CHECK(base::is(slow.error().error, base::errc::timed_out));
        web.io.run(client.close());
        web.io.run(served->stop());
        web.client.reset();
    }
}

TEST_CASE("what a modern request repeats in its fields") {
    Script script;
    script.on_post = [](Json message, http::Request const&, http::Reply& reply) -> Task<void> {
        auto const value = message["method"] == "server/discover" ? discovery() : content("ok");
        auto body = result(message["id"], value);
        co_await answer(reply, std::move(body));
    };
    Web web(script.handler());
    auto& client = web.connect();
    REQUIRE(web.io.run(client.open()));
    client.know_tools(Json::array({{{"name", "t-1"},
                                    {"inputSchema",
                                     {{"type", "object"},
                                      {"properties",
                                       {{"city", {{"type", "string"}, {"x-mcp-header", "City"}}},
                                        {"n", {{"type", "integer"}, {"x-mcp-header", "N"}}},
                                        {"b", {{"type", "boolean"}, {"x-mcp-header", "B"}}},
                                        {"none", {{"type", "string"}, {"x-mcp-header", "None"}}},
                                        {"plain", {{"type", "string"}}}}}}}}}));
    REQUIRE(web.call("t-1", {{"city", "Genève"}, {"n", -7}, {"b", true}, {"none", nullptr}, {"plain", "p"}}));
    auto const& sent = script.requests.back();
    CHECK(sent.field("MCP-Protocol-Version") == "2026-07-28");
    CHECK(sent.field("Mcp-Method") == "tools/call");
    CHECK(sent.field("Mcp-Name") == "t-1");
    CHECK(sent.field("Mcp-Param-City") == "=?base64?R2Vuw6h2ZQ==?=");
    CHECK(sent.field("Mcp-Param-N") == "-7");
    CHECK(sent.field("Mcp-Param-B") == "true");
    CHECK(sent.field("Mcp-Param-None") == "");
    CHECK(sent.field("Mcp-Param-Plain") == "");
    CHECK(sent.field("X-Key") == "k");
    CHECK(sent.field("MCP-Session-Id") == "");
}

TEST_CASE("a tool whose annotations are invalid is dropped over HTTP, alone") {
    Script script;
    auto const with = [](std::string name, Json property) {
        return Json{{"name", std::move(name)},
                    {"inputSchema", {{"type", "object"}, {"properties", {{"p", std::move(property)}}}}}};
    };
    Json const annotated{{"type", "string"}, {"x-mcp-header", "A"}};
    Json tools =
        Json::array({with("good", annotated), with("empty", {{"type", "string"}, {"x-mcp-header", ""}}),
                     with("space", {{"type", "string"}, {"x-mcp-header", "A b"}}),
                     with("number", {{"type", "number"}, {"x-mcp-header", "A"}}),
                     with("items", {{"type", "array"}, {"items", annotated}}),
                     with("any", {{"anyOf", Json::array({annotated})}})});
    auto twice = with("twice", annotated);
    twice["inputSchema"]["properties"]["q"] = {{"type", "string"}, {"x-mcp-header", "a"}};
    tools.push_back(twice);
    script.on_post = [&](Json message, http::Request const&, http::Reply& reply) -> Task<void> {
        auto value = discovery();
        if (message["method"] != "server/discover") value = Json{{"tools", tools}};
        auto body = result(message["id"], value);
        co_await answer(reply, std::move(body));
    };
    Web web(script.handler());
    auto& client = web.connect();
    REQUIRE(web.io.run(client.open()));
    auto const usable = web.io.run(client.list_tools());
    REQUIRE(usable);
    REQUIRE(usable->size() == 1);
    CHECK((*usable)[0]["name"] == "good");
    CHECK(web.events.dropped.size() == 6);
}

TEST_CASE("a session that ended is opened anew once, and only what was not looked at is sent again") {
    Script script;
    int sessions = 0;
    std::string live;
    bool as_sdk_examples = false;
    SUBCASE("by 404") {}
    SUBCASE("by 400 and an error that speaks of the session") { as_sdk_examples = true; }
    script.on_post = [&](Json message, http::Request const& request, http::Reply& reply) -> Task<void> {
        auto const method = message.value("method", "");
        auto const id = message.value("id", Json(nullptr));
        if (method == "server/discover") co_return co_await answer(reply, nullptr, 400);
        if (method == "initialize") {
            live = "s-" + std::to_string(++sessions);
            auto const opened = initialization();
            co_return co_await answer(reply, result(id, opened), 200, live);
        }
        if (request.field("MCP-Session-Id") != live && as_sdk_examples) {
            Json refusal{{"jsonrpc", "2.0"}, {"error", {{"code", -32000}, {"message", "No valid Session ID"}}}};
            co_return co_await answer(reply, std::move(refusal), 400);
        }
        if (request.field("MCP-Session-Id") != live) co_return co_await answer(reply, nullptr, 404);
        if (id.is_null()) co_return co_await answer(reply, nullptr, 202);
        auto const done = content(live);
        co_await answer(reply, result(id, done));
    };
    Web web(script.handler());
    auto& client = web.connect();
    auto const facts = web.io.run(client.open());
    REQUIRE(facts);
    CHECK(facts->era == mcp::Era::legacy);
    CHECK((*web.call("t"))["content"][0]["text"] == "s-1");
    live = "gone";
    auto const a = web.call("t");
    REQUIRE(a);
    CHECK((*a)["content"][0]["text"] == "s-2");
    CHECK(sessions == 2);
    CHECK(script.requests.back().field("MCP-Protocol-Version") == "2025-11-25");
    web.io.run(client.close());
    CHECK(script.requests.back().verb == http::Verb::delete_);
}

TEST_CASE("a stream that the server closed is resumed at its last event") {
    Script script;
    Json open_id;
    script.on_post = [&](Json message, http::Request const&, http::Reply& reply) -> Task<void> {
        auto const id = message.value("id", Json(nullptr));
        if (message["method"] == "initialize") {
            auto const opened = initialization();
            co_return co_await answer(reply, result(id, opened), 200, "s");
        }
        if (id.is_null()) co_return co_await answer(reply, nullptr, 202);
        open_id = id;
        co_await begin_events(reply);
        co_await reply.write("id: e-1\nretry: 10\ndata:\n\n");
        co_await reply.finish();
    };
    script.on_get = [&](http::Request const& request, http::Reply& reply) -> Task<void> {
        if (request.field("Last-Event-ID") != "e-1") co_return co_await answer(reply, nullptr, 405);
        co_await begin_events(reply);
        auto const done = content("resumed");
        co_await reply.write("event: message\r\nid: e-2\r\ndata: " + base::dump(result(open_id, done)) +
                             "\r\n\r\n");
        co_await reply.finish();
    };
    Web web(script.handler());
    auto o = options();
    o.era = mcp::Era::legacy;
    auto& client = web.connect(o);
    REQUIRE(web.io.run(client.open()));
    auto const reply = web.call("t");
    REQUIRE(reply);
    CHECK((*reply)["content"][0]["text"] == "resumed");
    CHECK(script.count("tools/call") == 1);
}

TEST_CASE("HTTP answers that are none fail their request alone, and say what came") {
    struct Odd {
        unsigned status;
        std::string type, body, why;
    };
    std::vector<Odd> const odd{
        {200, "text/html", "<html>", "\"text/html\" where JSON"},
        {200, "application/json", "<html>", "no message"},
        {200, "application/json", "", "did not answer it"},
        {202, "application/json", "", "did not answer it"},
        {200, "application/json", R"({"jsonrpc":"2.0","method":"notifications/message","params":{}})",
         "no answer"},
        {200, "application/json", R"({"jsonrpc":"2.0","id":99,"result":{}})", "never made"},
        {500, "text/plain", "boom", "HTTP 500"},
        {302, "text/plain", "", "HTTP 302"},
        {401, "text/plain", "", "wants credentials"},
        {403, "text/plain", "", "refuses these credentials"},
        {200, "text/event-stream", "data: nonsense\n\n", "no message"},
        {200, "text/event-stream", ": nothing\n\n", "closed the stream without an answer"},
        {200, "text/event-stream", "data: " + std::string(70'000, 'x') + "\n\n", "larger than 65536 bytes"},
        {200, "application/json", std::string(70'000, ' '), "larger than 65536 bytes"},
    };
    Script script;
    Odd const* now = nullptr;
    script.on_post = [&](Json message, http::Request const&, http::Reply& reply) -> Task<void> {
        if (message["method"] == "server/discover") {
            auto const found = discovery();
            co_return co_await answer(reply, result(message["id"], found));
        }
        http::Fields fields;
        fields.set("Content-Type", now->type);
        auto body = now->body;
        co_await reply.send(static_cast<http::Status>(now->status), std::move(fields), std::move(body));
    };
    Web web(script.handler());
    auto o = options();
    o.max_message_bytes = 65536;
    auto& client = web.connect(o);
    REQUIRE(web.io.run(client.open()));
    for (auto const& each : odd) {
        CAPTURE(each.why);
        now = &each;
        auto const reply = web.call("t");
        REQUIRE_FALSE(reply);
        CHECK_MESSAGE(mcp::to_string(reply.error()).find(each.why) != std::string::npos,
                      mcp::to_string(reply.error()));
    }
    CHECK(client.usable());
}

TEST_CASE("a JSON-RPC error with an HTTP status is the server's own answer") {
    Script script;
    script.on_post = [&](Json message, http::Request const&, http::Reply& reply) -> Task<void> {
        bool const discover = message["method"] == "server/discover";
        auto body = discover ? result(message["id"], discovery()) : error(message["id"], -32601);
        unsigned const status = discover ? 200 : 404;
        co_await answer(reply, std::move(body), status);
    };
    Web web(script.handler());
    auto& client = web.connect();
    REQUIRE(web.io.run(client.open()));
    auto const reply = web.call("t");
    REQUIRE_FALSE(reply);
    REQUIRE(reply.error().rpc);
    CHECK(reply.error().rpc->code == -32601);
}

TEST_CASE("a header mismatch has the list read again and the call made once more") {
    Script script;
    Json const tools = Json::array(
        {{{"name", "t"},
          {"inputSchema",
           {{"type", "object"}, {"properties", {{"p", {{"type", "string"}, {"x-mcp-header", "P"}}}}}}}}});
    script.on_post = [&](Json message, http::Request const& request, http::Reply& reply) -> Task<void> {
        auto const id = message["id"];
        Json body;
        if (message["method"] == "server/discover") {
            body = result(id, discovery());
        } else if (message["method"] == "tools/list") {
            body = result(id, {{"tools", tools}});
        } else if (request.field("Mcp-Param-P") == "x") {
            body = result(id, content("ok"));
        } else {
            body = error(id, -32020);
        }
        unsigned const status = body.contains("error") ? 400 : 200;
        co_await answer(reply, std::move(body), status);
    };
    Web web(script.handler());
    auto& client = web.connect();
    REQUIRE(web.io.run(client.open()));
    REQUIRE(web.call("t", {{"p", "x"}}));
    CHECK(script.count("tools/call") == 2);
}

TEST_CASE("the transport of 2024-11-05") {
    std::shared_ptr<bool> over = std::make_shared<bool>(false);
    http::Reply* down = nullptr;
    std::string endpoint = "/messages?session=1";
    bool first = true;
    Web web([&](http::Request request, http::Reply& reply) -> Task<void> {
        if (request.path == "/sse" && request.verb == http::Verb::post)
            co_return co_await answer(reply, nullptr, 405);
        if (request.path == "/sse") {
            co_await begin_events(reply);
            down = &reply;
            co_await reply.write("event: endpoint\ndata: " + endpoint + "\n\n");
            while (!*over) co_await base::sleep_for(base::milliseconds(5));
            co_return;
        }
        CHECK(request.query == "session=1");
        co_await answer(reply, nullptr, 202);
        auto const message = base::parse_json(request.body).value();
        if (!message.contains("id")) co_return;
        auto const body = message["method"] == "initialize"
                              ? initialization({{"tools", Json::object()}}, "2024-11-05")
                              : content("old");
        auto const line = "event: message\ndata: " + base::dump(result(message["id"], body)) + "\n\n";
        co_await down->write(line);
        first = false;
    });
    SUBCASE("is found when the new one is not there") {
        auto& client = web.connect(options(), "/sse");
        auto const facts = web.io.run(client.open());
        REQUIRE(facts);
        CHECK(facts->version == "2024-11-05");
        CHECK((*web.call("t"))["content"][0]["text"] == "old");
        web.io.run(client.close());
    }
    SUBCASE("does not take our credentials to another origin") {
        endpoint = "http://127.0.0.1:1/elsewhere";
        auto& client = web.connect(options(), "/sse", mcp::HttpServer::Transport::sse);
        auto const facts = web.io.run(client.open());
        REQUIRE_FALSE(facts);
        CHECK(mcp::to_string(facts.error()).find("another origin") != std::string::npos);
    }
    *over = true;
}

TEST_CASE("URLs are taken apart strictly") {
    auto const url = http::Url::parse("HTTPS://Example.com:8443/a/b?c=d").value();
    CHECK(url.tls);
    CHECK(url.text() == "https://example.com:8443/a/b?c=d");
    CHECK(url.path() == "/a/b");
    CHECK(http::Url::parse("http://[::1]:80").value().text() == "http://[::1]/");
    CHECK(url.resolve("/x").value().text() == "https://example.com:8443/x");
    CHECK(url.resolve("x?y").value().text() == "https://example.com:8443/a/x?y");
    CHECK(url.resolve("//other/x").value().text() == "https://other/x");
    CHECK(url.resolve("http://third/").value().text() == "http://third/");
    for (auto const* bad : {"", "ftp://a/", "http://", "http://a@b/", "http://a:0/", "http://a:99999/",
                            "http://a:/", "http://a b/", "http://a/#f", "http://a\\b/", "http://[::1/",
                            "http://[zz]/", "javascript:1", "http://a/\r\n"})
        CHECK_MESSAGE(!http::Url::parse(bad), bad);
}
