#include "../terminal.hpp"
#include "commands.hpp"

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace host {
namespace {

// One request to the server of this data directory over its private socket.
base::Result<std::string> ask(std::string const& data, std::string target, std::string body) {
    namespace beast = boost::beast;
    asio::io_context io;
    asio::local::stream_protocol::socket socket(io);
    boost::system::error_code ec;
    socket.connect(asio::local::stream_protocol::endpoint(data + "/berth.sock"), ec);
    if (ec)
        return base::Error{ec, "no server answers at " + data + "/berth.sock (start one with berth serve)"};
    beast::http::request<beast::http::string_body> request(beast::http::verb::post, target, 11);
    request.set("Host", "localhost");
    request.set("Content-Type", "application/json");
    request.set("Accept", "application/json, text/event-stream");
    request.set("MCP-Protocol-Version", "2026-07-28");
    request.set("Mcp-Method", "tools/call");
    if (target.starts_with("/mcp")) {
        auto const parsed = base::Json::parse(body);
        request.set("Mcp-Name", parsed["params"]["name"].get<std::string>());
    }
    request.body() = std::move(body);
    request.prepare_payload();
    beast::http::write(socket, request, ec);
    beast::flat_buffer buffer;
    beast::http::response_parser<beast::http::string_body> response;
    response.body_limit(64u << 20);
    if (!ec) beast::http::read(socket, buffer, response, ec);
    if (ec) return base::Error{ec, "talk to the server"};
    return response.get().body();
}

}  // namespace

int tool(Options const& o) {
    if (o.rest.empty()) return fail("expected a tool's name: berth tool NAME '{json}'");
    auto arguments = base::parse_json(o.rest.size() > 1 ? o.rest[1] : "{}");
    if (!arguments) return fail("the arguments are " + arguments.error().message());
    base::Json const request = {{"jsonrpc", "2.0"},
                                {"id", 1},
                                {"method", "tools/call"},
                                {"params",
                                 {{"name", o.rest[0]},
                                  {"arguments", *arguments},
                                  {"_meta",
                                   {{"io.modelcontextprotocol/protocolVersion", "2026-07-28"},
                                    {"io.modelcontextprotocol/clientCapabilities", base::Json::object()}}}}}};
    std::string toolsets;
    for (auto const name : config::kToolsets) toolsets.append(toolsets.empty() ? "" : ",").append(name);
    auto answer = ask(o.data, "/mcp?toolsets=" + toolsets, base::dump(request));
    if (!answer) return fail(answer.error().message());
    std::string text = *answer;
    if (text.starts_with("data:") || text.find("\ndata:") != text.npos) {  // the last event of a stream
        auto const at = text.rfind("data:");
        text = text.substr(at + 5, text.find('\n', at) - at - 5);
    }
    auto parsed = base::parse_json(text, {64u << 20, 128});
    if (!parsed || !parsed->is_object()) return fail("the server answered: " + text.substr(0, 400));
    if (parsed->contains("error")) return fail((*parsed)["error"].value("message", "error"));
    auto const& result = (*parsed)["result"];
    auto const show = [](std::string const& answered) {
        // A program that reads it gets it as it is.
        std::printf("%s\n", (::isatty(STDOUT_FILENO) ? plain_lines(answered) : answered).c_str());
    };
    if (result.contains("structuredContent") && !result.value("isError", false))
        show(result["structuredContent"].dump(2));
    else
        for (auto const& block : result["content"]) show(block.value("text", ""));
    return result.value("isError", false) ? 1 : 0;
}

namespace {

/// What servers of the past left for the next one ends here instead, found as the next one would find it.
int end_what_is_recorded(Options const& o) {
    auto settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config));
    if (!settings) return fail(settings.error().message());
    settings->pools.clear();  // nothing found is kept in stock
    asio::io_context io{1};
    auto options = engine_options(o, std::move(*settings));
    options.to_end = true;
    auto engine = Engine::open(io, std::move(options));
    if (!engine) return fail(engine.error().message());
    int status = 0;
    asio::co_spawn(io, (*engine)->end_everything(), [&](std::exception_ptr e) {
        try {
            if (e) std::rethrow_exception(e);
        } catch (std::exception const& failure) {
            status = fail(failure.what());
        }
        io.stop();
    });
    io.run();
    if (status == 0) std::printf("no server ran; everything that %s records has ended, and files stay\n", o.data.c_str());
    return status;
}

}  // namespace

int down(Options const& o) {
    auto answer = ask(o.data, "/shutdown?all", "");
    if (answer) return 0;
    auto const code = answer.error().code;
    bool const nobody = code == boost::system::errc::no_such_file_or_directory || code == boost::system::errc::connection_refused;
    if (!nobody || !std::filesystem::exists(o.data + "/registry.sqlite")) return fail(answer.error().message());
    return end_what_is_recorded(o);
}

}  // namespace host
