#include "../terminal.hpp"
#include "../tool_help.hpp"
#include "commands.hpp"

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>

namespace host {
namespace {

// One request to the server of this data directory over its private socket.
base::Result<std::string> ask(std::string const& data, std::string target, std::string body,
                              std::map<std::string, std::string> const& fields = {}) {
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
    for (auto const& [name, value] : fields) request.set(name, value);
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

/// The result of a request to the server's tools, those of every toolset.
base::Result<base::Json> request(Options const& o, std::string const& method, base::Json params, std::string const& tool = "") {
    std::map<std::string, std::string> fields{{"MCP-Protocol-Version", "2026-07-28"}, {"Mcp-Method", method}};
    if (!tool.empty()) fields["Mcp-Name"] = tool;
    params["_meta"] = {{"io.modelcontextprotocol/protocolVersion", "2026-07-28"},
                       {"io.modelcontextprotocol/clientCapabilities", base::Json::object()}};
    base::Json const message{{"jsonrpc", "2.0"}, {"id", 1}, {"method", method}, {"params", std::move(params)}};
    std::string toolsets;
    for (auto const name : config::kToolsets) toolsets.append(toolsets.empty() ? "" : ",").append(name);
    auto answer = ask(o.data, "/mcp?toolsets=" + toolsets, base::dump(message), fields);
    if (!answer) return answer.error();
    std::string text = *answer;
    if (text.starts_with("data:") || text.find("\ndata:") != text.npos) {  // the last event of a stream
        auto const at = text.rfind("data:");
        text = text.substr(at + 5, text.find('\n', at) - at - 5);
    }
    auto parsed = base::parse_json(text, {64u << 20, 128});
    bool const object = parsed && parsed->is_object();
    if (object && parsed->contains("error"))
        return base::error(base::errc::invalid, (*parsed)["error"].value("message", "error"));
    if (!object || !parsed->contains("result"))
        return base::error(base::errc::unavailable, "the server answered: " + text.substr(0, 400));
    return std::move((*parsed)["result"]);
}

base::Result<std::vector<base::Json>> all_tools(Options const& o) {
    std::vector<base::Json> out;
    base::Json params = base::Json::object();
    for (;;) {
        auto page = request(o, "tools/list", params);
        if (!page) return page.error();
        for (auto& tool : (*page)["tools"]) out.push_back(std::move(tool));
        if (!page->contains("nextCursor")) return out;
        params["cursor"] = (*page)["nextCursor"];
    }
}

int list_tools(Options const& o) {
    auto const tools = all_tools(o);
    if (!tools) return fail(tools.error().message());
    std::fputs(tool_lines(*tools).c_str(), stdout);
    if (::isatty(STDOUT_FILENO)) std::puts("\nberth tool NAME --help says what one takes.");
    return 0;
}

int help_for_tool(Options const& o) {
    auto const tools = all_tools(o);
    if (!tools) return fail(tools.error().message());
    for (auto const& tool : *tools)
        if (tool.value("name", "") == o.rest[0]) return std::fputs(tool_help(tool).c_str(), stdout), 0;
    return fail("there is no tool " + o.rest[0] + ": berth tool lists those that there are");
}

}  // namespace

int tool(Options const& o) {
    if (o.rest.empty()) return list_tools(o);
    if (o.help) return help_for_tool(o);
    auto arguments = base::parse_json(o.rest.size() > 1 ? o.rest[1] : "{}");
    if (!arguments) return fail("the arguments are " + arguments.error().message());
    base::Json params{{"name", o.rest[0]}, {"arguments", std::move(*arguments)}};
    auto const answer = request(o, "tools/call", std::move(params), o.rest[0]);
    if (!answer) return fail(answer.error().message());
    auto const& result = *answer;
    auto const show = [](std::string const& answered) {
        // A program that reads it gets it as it is.
        std::printf("%s\n", (::isatty(STDOUT_FILENO) ? plain_lines(answered) : answered).c_str());
    };
    if (result.contains("structuredContent") && !result.value("isError", false))
        show(result["structuredContent"].dump(2));
    else if (result.contains("content"))
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
