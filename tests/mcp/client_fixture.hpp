#pragma once
#include <base/timeout.hpp>
#include <mcp/client.hpp>

#include <doctest/doctest.h>

#include <sys/socket.h>

#include <testing/io.hpp>

namespace mcp {

// What doctest shows of a result.
inline std::ostream& operator<<(std::ostream& out, Failure const& failure) {
    return out << to_string(failure);
}
inline std::ostream& operator<<(std::ostream& out, ServerFacts const& facts) { return out << facts.version; }

}  // namespace mcp

namespace client_test {

using base::Task;
using mcp::CallOptions;
using mcp::Json;
using Reply = mcp::Outcome<Json>;

struct Events final : mcp::ClientEvents {
    Task<Json> ask(mcp::Question question) override {
        asked.push_back(question);
        if (waits) co_await base::sleep_for(std::chrono::hours(1));
        if (answer.is_null()) throw mcp::RpcException(mcp::RpcError{-1, "no", nullptr});
        co_return answer;
    }
    void log(mcp::LogMessage message) override { logs.push_back(message.logger); }
    void tools_changed() override { ++tools; }
    void prompts_changed() override { ++prompts; }
    void resource_updated(std::string uri) override { updated.push_back(std::move(uri)); }
    void tool_dropped(std::string name, std::string reason) override { dropped[name] = std::move(reason); }
    void failed(std::string reason) override { failures.push_back(std::move(reason)); }

    std::vector<mcp::Question> asked;
    Json answer;
    bool waits = false;
    std::vector<std::string> logs, updated, failures;
    std::map<std::string, std::string> dropped;
    int tools = 0, prompts = 0;
};

inline mcp::ClientOptions options() {
    mcp::ClientOptions out;
    out.client_info = {{"name", "test"}, {"version", "1"}};
    out.capabilities = {{"elicitation", {{"form", Json::object()}}}, {"roots", Json::object()}};
    out.close_limit = base::milliseconds(50);
    return out;
}

inline Json result(Json id, Json value) {
    return {{"jsonrpc", "2.0"}, {"id", std::move(id)}, {"result", std::move(value)}};
}
inline Json error(Json id, int code, Json data = nullptr) {
    Json inner{{"code", code}, {"message", "refused"}};
    if (!data.is_null()) inner["data"] = std::move(data);
    return {{"jsonrpc", "2.0"}, {"id", std::move(id)}, {"error", std::move(inner)}};
}
inline Json notice(std::string method, Json params) {
    return {{"jsonrpc", "2.0"}, {"method", std::move(method)}, {"params", std::move(params)}};
}
inline Json discovery(Json capabilities = {{"tools", Json::object()}}) {
    return {{"resultType", "complete"},
            {"supportedVersions", {"2026-07-28"}},
            {"capabilities", std::move(capabilities)},
            {"ttlMs", 0},
            {"cacheScope", "private"}};
}
inline Json initialization(Json capabilities = {{"tools", Json::object()}},
                           std::string version = "2025-11-25") {
    return {{"protocolVersion", std::move(version)},
            {"capabilities", std::move(capabilities)},
            {"serverInfo", {{"name", "fake"}, {"version", "1"}}}};
}
inline Json content(std::string text) {
    return {{"content", Json::array({{{"type", "text"}, {"text", std::move(text)}}})},
            {"resultType", "complete"}};
}

/// A server on the other end of a socket pair that does what the test says, message by message.
struct FakeServer {
    explicit FakeServer(asio::io_context& io) : socket(io) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        socket.assign(asio::local::stream_protocol(), ends[0]);
        base::UniqueFd in(ends[1]), out(::dup(ends[1]));
        stream = mcp::descriptor_stream(io.get_executor(), std::move(in), std::move(out));
        asio::co_spawn(io, run(), [](std::exception_ptr) {});
    }
    void say(Json const& message) { say_bytes(base::dump(message) + '\n'); }
    void say_bytes(std::string bytes) {
        boost::system::error_code ignored;
        asio::write(socket, asio::buffer(bytes), ignored);
    }
    void hang_up() { socket.close(); }
    std::size_t count(std::string const& method) const {
        return static_cast<std::size_t>(std::count_if(
            heard.begin(), heard.end(), [&](Json const& m) { return m.value("method", "") == method; }));
    }
    Json last(std::string const& method) const {
        for (auto it = heard.rbegin(); it != heard.rend(); ++it)
            if (it->value("method", "") == method) return *it;
        return nullptr;
    }

    asio::local::stream_protocol::socket socket;
    std::unique_ptr<base::ByteStream> stream;
    std::function<void(Json const&)> on_message;
    std::vector<Json> heard;

  private:
    Task<void> run() {
        std::string buffer;
        for (;;) {
            auto const into = asio::dynamic_buffer(buffer);
            auto const [ec, n] = co_await asio::async_read_until(socket, into, '\n', base::as_tuple);
            if (ec) co_return;
            auto message = base::parse_json(std::string_view(buffer).substr(0, n - 1)).value();
            buffer.erase(0, n);
            heard.push_back(message);
            if (on_message) on_message(message);
        }
    }
};

/// A client and a fake server. The fake opens as `era` says and leaves the rest to `on_call`.
struct Rig {
    explicit Rig(mcp::Era era = mcp::Era::modern, mcp::ClientOptions o = options(),
                 Json capabilities = {{"tools", Json::object()}})
        : server(io.context) {
        server.on_message = [this, era, capabilities](Json const& message) {
            auto const method = message.value("method", "");
            auto const id = message.value("id", Json(nullptr));
            if (method == "server/discover" && era == mcp::Era::modern)
                return server.say(result(id, discovery(capabilities)));
            if (method == "server/discover") return server.say(error(id, -32601));
            if (method == "initialize") return server.say(result(id, initialization(capabilities)));
            if (on_call) on_call(message, id);
        };
        client.emplace(io.context, std::move(server.stream), std::move(o), events);
    }
    ~Rig() {
        client.reset();
        io.context.restart();
        io.context.poll();
    }

    mcp::Outcome<mcp::ServerFacts> open() { return io.run(client->open()); }
    Reply call(std::string name, Json arguments = Json::object()) {
        CallOptions plain;
        return io.run(client->call_tool(std::move(name), std::move(arguments), std::move(plain)));
    }
    Reply call(CallOptions o) { return io.run(client->call_tool("t", Json::object(), std::move(o))); }

    /// A call that goes on beside the test.
    struct Beside {
        std::optional<Reply> reply;
        asio::cancellation_signal cancel;
    };
    std::shared_ptr<Beside> start(CallOptions o = CallOptions()) {
        auto beside = std::make_shared<Beside>();
        asio::co_spawn(
            io.context, client->call_tool("t", Json::object(), std::move(o)),
            asio::bind_cancellation_slot(beside->cancel.slot(), [beside](std::exception_ptr e, Reply r) {
                if (!e) beside->reply = std::move(r);
            }));
        return beside;
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
    FakeServer server;
    std::function<void(Json const& message, Json const& id)> on_call;
    std::optional<mcp::Client> client;
};

}  // namespace client_test
