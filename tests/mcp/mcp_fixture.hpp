#pragma once
#include <base/timeout.hpp>
#include <base/unique_fd.hpp>
#include <mcp/server.hpp>

#include <doctest/doctest.h>

#include <sys/socket.h>

#include <deque>
#include <testing/io.hpp>

namespace mcp_test {

using base::Task;
using mcp::Call;
using mcp::Json;
using mcp::ToolResult;

/// What the tools below did, for the tests to look at.
struct Seen {
    int started = 0, cancelled = 0, finished = 0, asked = 0;
};

/// Sets a flag when the coroutine that owns it ends, however it ends.
struct Ends {
    explicit Ends(Seen& s) : seen(s) { ++seen.started; }
    ~Ends() { done ? ++seen.finished : ++seen.cancelled; }
    Seen& seen;
    bool done = false;
};

inline mcp::Question question(std::string key) {
    Json params{{"mode", "form"},
                {"message", "?"},
                {"requestedSchema", {{"type", "object"}, {"properties", Json::object()}}}};
    return {std::move(key), "elicitation/create", std::move(params)};
}

inline mcp::Tool tool(std::string name, std::function<Task<ToolResult>(Json, Call&)> run) {
    mcp::Tool out;
    out.definition = {{"name", name}, {"description", name}, {"inputSchema", {{"type", "object"}}}};
    out.name = std::move(name);
    out.run = std::move(run);
    return out;
}

/// Sleeps for `ms`, by default longer than any test runs.
inline Task<ToolResult> wait_long(Json arguments, std::shared_ptr<Seen> seen) {
    Ends ends(*seen);
    co_await base::sleep_for(base::milliseconds(arguments.value("ms", 600'000)));
    co_await base::sleep_for(base::milliseconds(0));  // a cancelled coroutine does not get past this
    ends.done = true;
    co_return ToolResult::text("waited");
}

inline Task<ToolResult> echo(Json arguments, Call& call) {
    if (arguments.contains("ms")) co_await base::sleep_for(base::milliseconds(arguments.value("ms", 0)));
    auto const text = arguments.value("text", Json(""));
    co_return ToolResult::text(call.caller().principal + ':' +
                               (text.is_string() ? text.get<std::string>() : ""));
}

inline Task<ToolResult> chatty(Json, Call& call) {
    call.progress(1, 2.0, "half");
    call.progress(1, 2.0, "again");  // does not increase: dropped
    call.log(mcp::LogLevel::debug, "t", "quiet");
    call.log(mcp::LogLevel::warning, "t", "loud");
    co_return ToolResult::text("said");
}

inline Task<ToolResult> ask_twice(Json arguments, Call& call, std::shared_ptr<Seen> seen) {
    ++seen->asked;
    std::vector<mcp::Question> first, second;
    first.push_back(question("a"));
    second.push_back(question("b"));
    Json one = 1, two = 2;
    auto const a = co_await call.ask(std::move(first), std::move(one));
    auto const b = co_await call.ask(std::move(second), std::move(two));
    co_return ToolResult::text(arguments.value("text", "") + base::dump(a.at("a")["content"]["x"]) +
                               base::dump(b.at("b")["content"]["x"]) + base::dump(call.state()));
}

inline mcp::Features features(std::shared_ptr<Seen> seen) {
    mcp::Features out;
    out.name = "test";
    out.version = "1";
    out.state_key = "a key for tests";
    out.tools.push_back(tool("echo", echo));
    out.tools.push_back(
        tool("wait", [seen](Json arguments, Call&) { return wait_long(std::move(arguments), seen); }));
    out.tools.push_back(tool("chatty", chatty));
    out.tools.push_back(tool(
        "ask", [seen](Json arguments, Call& call) { return ask_twice(std::move(arguments), call, seen); }));
    auto job = tool("job", [seen](Json arguments, Call&) { return wait_long(std::move(arguments), seen); });
    job.may_be_task = true;
    out.tools.push_back(std::move(job));
    auto late = tool(
        "late", [seen](Json arguments, Call& call) { return ask_twice(std::move(arguments), call, seen); });
    late.needs_task = true;
    out.tools.push_back(std::move(late));
    auto rare = tool("rare", echo);
    rare.toolset = "extra";
    out.tools.push_back(std::move(rare));
    return out;
}

inline Json modern_meta(Json capabilities = Json::object()) {
    Json meta = Json::object();
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28";
    meta["io.modelcontextprotocol/clientCapabilities"] = std::move(capabilities);
    return meta;
}
inline Json request(Json id, std::string method, Json params) {
    return {{"jsonrpc", "2.0"},
            {"id", std::move(id)},
            {"method", std::move(method)},
            {"params", std::move(params)}};
}
inline Json modern(Json id, std::string method, Json params = Json::object(),
                   Json capabilities = Json::object()) {
    params["_meta"].update(modern_meta(std::move(capabilities)));
    return request(std::move(id), std::move(method), std::move(params));
}
inline Json call(Json id, std::string name, Json arguments = Json::object(),
                 Json capabilities = Json::object()) {
    return modern(std::move(id), "tools/call",
                  {{"name", std::move(name)}, {"arguments", std::move(arguments)}}, std::move(capabilities));
}
inline Json legacy_call(Json id, std::string name, Json arguments = Json::object()) {
    return request(std::move(id), "tools/call",
                   {{"name", std::move(name)}, {"arguments", std::move(arguments)}});
}
inline Json initialize(Json id, std::string version = "2025-11-25", Json capabilities = Json::object()) {
    return request(std::move(id), "initialize",
                   {{"protocolVersion", std::move(version)},
                    {"capabilities", std::move(capabilities)},
                    {"clientInfo", {{"name", "t"}, {"version", "1"}}}});
}
inline std::string text_of(Json const& response) {
    return response.at("result").at("content").at(0).at("text");
}

/// The reply of one HTTP request, readable while it is written.
struct FakeReply final : http::Reply {
    http::Status status{};
    http::Fields fields;
    std::string body;
    bool sent = false, streaming = false, finished = false;

    Task<base::Status> send(http::Status s, http::Fields f, std::string b) override {
        status = s, fields = std::move(f), body = std::move(b), sent = true;
        co_return base::Status();
    }
    Task<base::Status> begin(http::Status s, http::Fields f, std::optional<std::uint64_t>) override {
        status = s, fields = std::move(f), streaming = true;
        co_return base::Status();
    }
    Task<base::Status> write(std::string bytes) override {
        body += bytes;
        co_return base::Status();
    }
    Task<base::Status> finish() override {
        finished = true;
        co_return base::Status();
    }
    bool begun() const override { return streaming; }
    Task<base::Result<std::string>> receive() override { co_return std::string(); }

    Json json() const { return base::parse_json(body).value(); }
    /// The messages of the event stream so far.
    std::vector<Json> events() const;
    std::string last_event_id() const {
        auto const at = body.rfind("id: ");
        return at == body.npos ? "" : body.substr(at + 4, body.find('\n', at) - at - 4);
    }
    int code() const { return static_cast<int>(status); }
};

inline std::vector<Json> FakeReply::events() const {
    std::vector<Json> out;
    for (auto at = body.find("data: {"); at != body.npos; at = body.find("data: {", at + 1))
        out.push_back(base::parse_json(body.substr(at + 6, body.find('\n', at) - at - 6)).value());
    return out;
}

struct World {
    explicit World(mcp::ServerOptions options = {}) : server(io.context, features(seen), options) {}

    /// Lets everything that can run do so until `done`, at most for a minute.
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

    http::Request http_request(Json const& message, std::string principal = "alice") {
        http::Request out;
        out.verb = http::Verb::post;
        out.path = "/mcp";
        out.body = base::dump(message);
        out.principal.name = std::move(principal);
        out.fields.set("Content-Type", "application/json");
        out.fields.set("Accept", "application/json, text/event-stream");
        return out;
    }
    /// With the fields that a modern client repeats.
    http::Request modern_request(Json const& message, std::string principal = "alice") {
        auto out = http_request(message, std::move(principal));
        out.fields.set("MCP-Protocol-Version", "2026-07-28");
        out.fields.set("Mcp-Method", message["method"].get<std::string>());
        for (auto const* name : {"name", "uri", "taskId"})
            if (message["params"].contains(name))
                out.fields.set("Mcp-Name", message["params"][name].get<std::string>());
        return out;
    }
    FakeReply ask(http::Request request) {
        FakeReply reply;
        io.run(server.http_handler()(std::move(request), reply));
        return reply;
    }

    testing_support::Io io;
    std::shared_ptr<Seen> seen = std::make_shared<Seen>();
    mcp::Server server;
};

/// A request whose client can go away.
struct Pending {
    Pending(World& world, http::Request request)
        : reply(std::make_shared<FakeReply>()), ended(std::make_shared<bool>(false)) {
        auto done = [reply = reply, ended = ended](std::exception_ptr) { *ended = true; };
        asio::co_spawn(world.io.context, world.server.http_handler()(std::move(request), *reply),
                       asio::bind_cancellation_slot(signal->slot(), std::move(done)));
    }
    void disconnect() { signal->emit(asio::cancellation_type::terminal); }
    std::shared_ptr<FakeReply> reply;
    std::shared_ptr<bool> ended;
    std::shared_ptr<asio::cancellation_signal> signal = std::make_shared<asio::cancellation_signal>();
};

/// The client's end of a stdio connection.
struct Pipe {
    explicit Pipe(World& w, std::string principal = "local") : world(w), client(w.io.context) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        client.assign(asio::local::stream_protocol(), ends[0]);
        server = base::UniqueFd(ends[1]);
        mcp::Caller caller;
        caller.principal = std::move(principal);
        asio::co_spawn(w.io.context, w.server.serve_stdio(server.get(), server.get(), caller),
                       [ended = ended](std::exception_ptr) { *ended = true; });
    }
    void send_line(std::string const& line) { asio::write(client, asio::buffer(line + '\n')); }
    void send(Json const& message) { send_line(base::dump(message)); }
    Json next() {
        REQUIRE(world.until([this] { return take(); }));
        auto line = std::move(lines.front());
        lines.pop_front();
        return base::parse_json(line).value();
    }
    Json ask(Json const& message) {
        send(message);
        return next();
    }
    /// Whether nothing comes while everything that is ready runs.
    bool quiet() {
        for (int i = 0; i < 20; ++i) {
            world.io.context.restart();
            world.io.context.run_one_for(std::chrono::milliseconds(5));
        }
        return !take();
    }
    void close() { client.close(); }

    World& world;
    asio::local::stream_protocol::socket client;
    base::UniqueFd server;
    std::shared_ptr<bool> ended = std::make_shared<bool>(false);

  private:
    bool take() {
        boost::system::error_code ec;
        if (client.available(ec) > 0) {
            std::string bytes(client.available(ec), '\0');
            bytes.resize(client.read_some(asio::buffer(bytes)));
            buffer += bytes;
        }
        for (auto end = buffer.find('\n'); end != buffer.npos; end = buffer.find('\n')) {
            lines.push_back(buffer.substr(0, end));
            buffer.erase(0, end + 1);
        }
        return !lines.empty();
    }
    std::string buffer;
    std::deque<std::string> lines;
};

}  // namespace mcp_test
