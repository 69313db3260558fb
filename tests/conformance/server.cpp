#include "fixtures.hpp"
#include <http/server.hpp>

#include <charconv>
#include <csignal>
#include <iostream>
#include <sstream>

// berth-conformance-server --port N | --stdio: our endpoint with the fixtures of the public conformance
// suite, for loopback only.
namespace {

using std::chrono_literals::operator""ms;

base::Task<mcp::Completion> complete(mcp::Json, std::string, std::string value, mcp::Json, mcp::Call&) {
    mcp::Completion out;
    for (auto const* word : {"paris", "park", "party"})
        if (std::string_view(word).starts_with(value)) out.values.emplace_back(word);
    out.total = out.values.size();
    co_return out;
}

mcp::Features features(std::shared_ptr<fixtures::Late> late) {
    mcp::Features out;
    out.name = "berth-conformance-server";
    out.title = "Conformance fixtures";
    out.version = "1.0.0";
    out.instructions = "Fixtures for the MCP conformance suite.";
    out.tools = fixtures::content_tools(std::move(late));
    for (auto& tool : fixtures::question_tools()) out.tools.push_back(std::move(tool));
    for (auto& tool : fixtures::task_tools()) out.tools.push_back(std::move(tool));
    out.resources = fixtures::resources();
    out.prompts = fixtures::prompts();
    out.complete = complete;
    return out;
}

int serve_http(asio::io_context& io, mcp::Server& server, std::uint16_t port) {
    http::GateOptions gate;
    gate.hosts = {"localhost", "127.0.0.1", "[::1]"};
    http::Route route;
    route.path = "/mcp";
    route.verbs = {http::Verb::post, http::Verb::get, http::Verb::delete_};
    route.access = http::Access::open;
    route.max_body = 16 << 20;
    route.handler = server.http_handler();
    http::Server listener(io, gate, {}, {route});
    auto const where = listener.listen("127.0.0.1", port);
    if (!where) {
        std::cerr << where.error().message() << '\n';
        return 1;
    }
    std::ostringstream line;  // in one write: whoever waits for the line must not find half of it
    line << "listening on http://" << *where << "/mcp\n";
    std::cerr << line.str();
    asio::signal_set signals(io, SIGINT, SIGTERM);
    signals.async_wait([&io](auto, auto) { io.stop(); });
    io.run();
    return 0;
}

int serve_stdio(asio::io_context& io, mcp::Server& server) {
    mcp::Caller caller;
    caller.principal = "local";
    asio::co_spawn(io, server.serve_stdio(0, 1, caller), [&io](std::exception_ptr) { io.stop(); });
    io.run();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string_view> const arguments(argv + 1, argv + argc);
    std::uint16_t port = 0;
    bool const stdio = arguments.size() == 1 && arguments[0] == "--stdio";
    bool const http =
        arguments.size() == 2 && arguments[0] == "--port" &&
        std::from_chars(arguments[1].data(), arguments[1].data() + arguments[1].size(), port).ec ==
            std::errc{};
    if (!stdio && !http) {
        std::cerr << "usage: berth-conformance-server --port N | --stdio\n";
        return 2;
    }
    asio::io_context io{1};
    auto const late = std::make_shared<fixtures::Late>();
    mcp::ServerOptions options;
    options.task_after = 300ms;
    mcp::Server server(io, features(late), options);
    late->hub = &server.hub();
    return stdio ? serve_stdio(io, server) : serve_http(io, server, port);
}
