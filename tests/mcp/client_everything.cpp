#include "client_fixture.hpp"
#include <base/launcher.hpp>
#include <base/unique_fd.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

// The ecosystem's reference server (npm, of the legacy era) behind our client: as it is found out, and as it
// is known.
using namespace client_test;

namespace {

std::string tools_folder() {
    auto const* folder = std::getenv("BERTH_NODE_TOOLS");
    return folder ? folder : "";
}
std::string program() {
    return tools_folder() + "/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
}

bool missing() {
    if (!tools_folder().empty() && std::filesystem::exists(program())) return false;
    MESSAGE(
        "SKIPPED: server-everything is not installed (scripts/setup-suites; BERTH_NODE_TOOLS names its "
        "folder)");
    return true;
}

struct Child {
    explicit Child(std::string transport, std::string port = "") {
        int to[2], from[2];
        REQUIRE(::pipe2(to, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(from, O_CLOEXEC) == 0);
        base::UniqueFd const in(to[0]), out(from[1]);
        to_server = base::UniqueFd(to[1]);
        from_server = base::UniqueFd(from[0]);
        base::Launch launch;
        launch.argv = {tools_folder() + "/bin/node", program(), std::move(transport)};
        if (!port.empty()) launch.env = {"PORT=" + port};
        launch.in = in.get();
        launch.out = out.get();
        pid = base::start_detached(std::move(launch)).value();
    }
    ~Child() { ::kill(pid, SIGKILL); }
    base::UniqueFd from_server, to_server;
    pid_t pid = -1;
};

mcp::ClientOptions able() {
    auto o = options();
    o.capabilities = {
        {"elicitation", {{"form", Json::object()}}}, {"sampling", Json::object()}, {"roots", Json::object()}};
    o.probe_limit = base::milliseconds(60'000);  // a busy machine starts Node slowly; it does answer
    return o;
}

struct Everything final : mcp::ClientEvents {
    Task<Json> ask(mcp::Question question) override {
        asked.insert(question.method);
        Json answer;
        if (question.method == "roots/list") {
            answer = Json{{"roots", Json::array({Json{{"uri", "file:///r"}}})}};
        } else if (question.method == "elicitation/create") {
            answer = Json{{"action", "decline"}};
        } else {
            answer = Json{{"role", "assistant"},
                          {"model", "none"},
                          {"content", {{"type", "text"}, {"text", "sampled"}}}};
        }
        co_return answer;
    }
    void tools_changed() override { ++changes; }
    std::set<std::string> asked;
    int changes = 0;
};

bool lists(Json const& tools, std::string const& name) {
    return std::any_of(tools.begin(), tools.end(),
                       [&](Json const& tool) { return tool.value("name", "") == name; });
}

void exercise(testing_support::Io& io, mcp::Client& client, Everything& events) {
    auto const call = [&](std::string name, Json arguments, CallOptions o = CallOptions()) {
        auto reply = io.run(client.call_tool(name, std::move(arguments), std::move(o)));
        REQUIRE_MESSAGE(reply.has_value(), name << ": " << mcp::to_string(reply.error()));
        return *reply;
    };
    auto tools = io.run(client.list_tools()).value();
    CHECK(tools.size() >= 13);
    CHECK(call("echo", {{"message", "hello"}})["content"][0]["text"] == "Echo: hello");
    CHECK(call("get-sum", {{"a", 2}, {"b", 3}})["content"][0]["text"].get<std::string>().find('5') !=
          std::string::npos);
    CHECK(call("get-structured-content", {{"location", "New York"}})["structuredContent"].is_object());
    CHECK(call("get-tiny-image", Json::object()).dump().find("image/png") != std::string::npos);

    std::vector<double> steps;
    CallOptions watched;
    watched.on_progress = [&](mcp::Progress p) { steps.push_back(p.progress); };
    call("trigger-long-running-operation", {{"duration", 0.3}, {"steps", 3}}, std::move(watched));
    CHECK(steps == std::vector<double>{1, 2, 3});

    CallOptions as_task;
    as_task.task_ttl = base::milliseconds(120'000);
    CHECK(
        call("simulate-research-query", {{"topic", "x"}, {"ambiguous", false}}, std::move(as_task))["content"]
            .size() > 0);

    auto const prompts = io.run(client.list_prompts()).value();
    CHECK(lists(prompts, "simple-prompt"));
    CallOptions plain;
    CHECK(io.run(client.get_prompt("simple-prompt", Json(nullptr), plain)).value()["messages"].size() > 0);
    Json const ref{{"type", "ref/prompt"}, {"name", "completable-prompt"}},
        argument{{"name", "department"}, {"value", "E"}};
    CHECK(io.run(client.complete(ref, argument, Json(nullptr), plain)).value()["completion"]["values"][0] ==
          "Engineering");

    auto const resources = io.run(client.list_resources()).value();
    REQUIRE(resources.size() > 0);
    CHECK(io.run(client.list_templates()).value().size() > 0);
    auto const uri = resources[0]["uri"].get<std::string>();
    CHECK(io.run(client.read_resource(uri, plain)).value()["contents"].size() > 0);
    CHECK(io.run(client.subscribe(uri)).has_value());
    CHECK(io.run(client.unsubscribe(uri)).has_value());
    CHECK(io.run(client.set_log_level(mcp::LogLevel::warning)).has_value());

    // Tools that ask the client are listed once the server knows what it may ask.
    auto const end = base::Clock::now() + std::chrono::minutes(1);
    while (!lists(tools, "trigger-elicitation-request") && base::Clock::now() < end) {
        io.run(base::sleep_for(base::milliseconds(50)));
        tools = io.run(client.list_tools()).value();
    }
    call("trigger-elicitation-request", Json::object());
    call("trigger-sampling-request", {{"prompt", "p"}, {"maxTokens", 5}});
    CHECK(events.asked.contains("elicitation/create"));
    CHECK(events.asked.contains("sampling/createMessage"));

    CallOptions wrong;
    auto const unknown = io.run(client.request("tools/none", Json::object(), wrong));
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().rpc->code == -32601);
}

}  // namespace

TEST_CASE("server-everything on stdio, found out to be legacy") {
    if (missing()) return;
    Child child("stdio");
    testing_support::Io io;
    Everything events;
    auto stream = mcp::descriptor_stream(io.context.get_executor(), std::move(child.from_server),
                                         std::move(child.to_server));
    mcp::Client client(io.context, std::move(stream), able(), events);
    auto const facts = io.run(client.open());
    REQUIRE(facts);
    CHECK(facts->era == mcp::Era::legacy);
    exercise(io, client, events);
    io.run(client.close());
}

TEST_CASE("server-everything over Streamable HTTP, known to be legacy") {
    if (missing()) return;
    testing_support::Io io;
    std::string port;
    {
        asio::ip::tcp::endpoint const any(asio::ip::make_address("127.0.0.1"), 0);
        asio::ip::tcp::acceptor const taken(io.context, any);
        port = std::to_string(taken.local_endpoint().port());
    }
    Child child("streamableHttp", port);
    Everything events;
    std::optional<mcp::Client> client;
    auto const end = base::Clock::now() + std::chrono::minutes(1);
    std::optional<mcp::Outcome<mcp::ServerFacts>> facts;
    do {
        client.reset();
        io.run(base::sleep_for(base::milliseconds(100)));
        mcp::HttpServer where;
        where.url = "http://127.0.0.1:" + port + "/mcp";
        auto o = able();
        o.era = mcp::Era::legacy;
        client.emplace(io.context, std::move(where), std::move(o), events);
        facts = io.run(client->open());
    } while (!*facts && base::Clock::now() < end);
    REQUIRE(*facts);
    exercise(io, *client, events);
    io.run(client->close());
}
