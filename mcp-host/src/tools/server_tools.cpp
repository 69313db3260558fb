#include "server_tools.hpp"

namespace host {
namespace {

constexpr std::int64_t kMaxLogLines = 2'000;

Field server_field() {
    Field f;
    f.name = "server";
    f.required = true;
    f.example = "github";
    f.description = "Name in servers.json";
    f.max_length = 100;
    return f;
}

std::string line_of(Json const& server) {
    auto line = server.value("server", "") + ": " + server.value("state", "") + ", " +
                std::to_string(server.value("tools", 0)) + " tools, " + server.value("isolation", "");
    if (server.contains("held_back"))
        line += ", " + std::to_string(server.value("held_back", 0)) + " tools held back";
    if (server.contains("reason")) line += ": " + server.value("reason", "");
    if (server.contains("next_step")) line += "; next: " + server.value("next_step", "");
    return line;
}

}  // namespace

std::vector<mcp::Tool> server_tools(servers::Servers& s) {
    std::vector<mcp::Tool> tools;
    tools.push_back(
        make_tool({.name = "servers_list",
                   .title = "Community servers",
                   .description = "The configured MCP servers with state, tool count and isolation.",
                   .output = {{"servers", "array"}},
                   .hints = {.read_only = true},
                   .toolset = "servers"},
                  [&s](Arguments, Call&) -> Task<ToolResult> {
                      auto const all = s.list();
                      std::string text;
                      for (auto const& one : all) text += line_of(one) + "\n";
                      Json facts{{"servers", all}};
                      if (auto const problem = s.file_problem(); !problem.empty()) {
                          text += problem;
                          facts["problem"] = problem;
                      }
                      if (text.empty()) text = "No servers are configured.";
                      co_return ToolResult::text(text, std::move(facts));
                  }));
    tools.push_back(make_tool(
        {.name = "server_status",
         .title = "State of a server",
         .description = "Everything known about one MCP server: state and reason, usage, held-back tools "
                        "with their differences, warnings.",
         .fields = {server_field()},
         .output = {{"server", "string"}, {"state", "string"}},
         .hints = {.read_only = true},
         .toolset = "servers"},
        [&s](Arguments a, Call&) -> Task<ToolResult> {
            auto status = value_of(s.status(a.string("server")));
            co_return ToolResult::text(status.dump(2), status);
        }));
    tools.push_back(make_tool(
        {.name = "server_restart",
         .title = "Restart a server",
         .description = "Ends the MCP server and starts it anew; also starts one that is asleep, backing off "
                        "or failed. Calls in flight fail.",
         .fields = {server_field()},
         .output = {{"server", "string"}, {"state", "string"}},
         .hints = {.destructive = true, .idempotent = true},
         .toolset = "servers"},
        [&s](Arguments a, Call&) -> Task<ToolResult> {
            auto restarted = co_await s.restart(a.string("server"));
            auto const state = value_of(std::move(restarted));
            co_return ToolResult::text(line_of(state), state);
        }));
    tools.push_back(make_tool(
        {.name = "server_logs",
         .title = "Log of a server",
         .description = "The last lines that the MCP server wrote to stderr, with berth's notes on its life.",
         .fields = {server_field(),
                    {.name = "lines",
                     .type = Field::Type::integer,
                     .description = "Default 100",
                     .example = 100,
                     .minimum = 1,
                     .maximum = kMaxLogLines}},
         .output = {{"lines", "array"}},
         .hints = {.read_only = true},
         .toolset = "servers"},
        [&s](Arguments a, Call&) -> Task<ToolResult> {
            auto const count = static_cast<std::size_t>(a.integer("lines", 100));
            auto const lines = value_of(s.logs(a.string("server"), count));
            std::string text;
            for (auto const& line : lines) text += line + "\n";
            co_return ToolResult::text(text, {{"lines", lines}});
        }));
    tools.push_back(make_tool(
        {.name = "server_approve",
         .title = "Approve held-back tools",
         .description = "Accepts tools that are held back because they are new or changed since they were "
                        "pinned. Look at their differences in server_status first, and give its held_hash.",
         .fields = {server_field(),
                    {.name = "hash",
                     .description = "held_hash of the server_status that was looked at; needed while something is held back",
                     .example = "5d41402abc4b2a76b9719d911017c592ae3f1b0c8d7e6f5a4b3c2d1e0f9a8b7c",
                     .max_length = 100},
                    {.name = "tools",
                     .type = Field::Type::strings,
                     .description = "The server's own names; without it all",
                     .example = Json::array({"create_issue"})}},
         .output = {{"approved", "array"}},
         .hints = {.destructive = true, .idempotent = true},
         .toolset = "servers"},
        [&s](Arguments a, Call& call) -> Task<ToolResult> {
            auto approved = co_await s.approve(a.string("server"), a.strings("tools"), a.string("hash"),
                                               call.caller().principal);
            auto const names = value_of(std::move(approved));
            auto text = std::to_string(names.size()) + " tools approved";
            for (auto const& name : names) text += "\n" + name;
            co_return ToolResult::text(text, {{"approved", names}});
        }));
    return tools;
}

std::vector<mcp::Tool> search_tools(servers::Servers& s) {
    std::vector<mcp::Tool> tools;
    tools.push_back(make_tool(
        {.name = "search_tools",
         .title = "Find a tool",
         .description = "Finds tools of the community servers by what they do. Then describe_tool shows the "
                        "arguments and call_tool calls it.",
         .fields = {{.name = "query",
                     .description = "Words for the task",
                     .required = true,
                     .example = "list open pull requests",
                     .max_length = 1000},
                    {.name = "limit",
                     .type = Field::Type::integer,
                     .description = "Default 8",
                     .example = 8,
                     .minimum = 1,
                     .maximum = 50}},
         .output = {{"tools", "array"}},
         .hints = {.read_only = true},
         .toolset = "search"},
        [&s](Arguments a, Call&) -> Task<ToolResult> {
            auto const found = s.search(a.string("query"), static_cast<std::size_t>(a.integer("limit", 8)));
            std::string text;
            for (auto const& tool : found)
                text += tool.value("tool", "") + ": " + tool.value("description", "") + "\n";
            if (text.empty()) text = "No tool fits. Try other words.";
            co_return ToolResult::text(text, {{"tools", found}});
        }));
    Field tool;
    tool.name = "tool";
    tool.required = true;
    tool.example = "github__list_issues";
    tool.description = "Name from search_tools";
    tool.max_length = 128;
    tools.push_back(make_tool(
        {.name = "describe_tool",
         .title = "Arguments of a tool",
         .description = "The whole definition of a tool found by search_tools, with its argument schema.",
         .fields = {tool},
         .output = {{"definition", "object"}},
         .hints = {.read_only = true},
         .toolset = "search"},
        [&s](Arguments a, Call&) -> Task<ToolResult> {
            auto const definition = value_of(s.describe(a.string("tool")));
            co_return ToolResult::text(definition.dump(2), {{"definition", definition}});
        }));
    // Its result is the other tool's, so it promises no schema of its own.
    auto call = make_tool(
        {.name = "call_tool",
         .title = "Call a found tool",
         .description = "Calls a tool found by search_tools with the arguments that describe_tool shows.",
         .fields = {tool,
                    {.name = "arguments",
                     .type = Field::Type::object,
                     .description = "The tool's own",
                     .example = Json::object()}},
         .output = Json::object(),
         .hints = {.destructive = true, .open_world = true},
         .toolset = "search",
         .may_be_task = true},
        [&s](Arguments a, Call& c) -> Task<ToolResult> {
            auto arguments = a.has("arguments") ? a.raw("arguments") : Json::object();
            co_return co_await s.call(a.string("tool"), std::move(arguments), c);
        });
    call.definition.erase("outputSchema");
    call.definition["inputSchema"]["properties"]["arguments"] = {{"type", "object"},
                                                                 {"description", "The tool's own"}};
    call.run = [&s, checked = std::move(call.run)](Json given, Call& c) -> Task<ToolResult> {
        // The inner arguments follow a schema that is not ours: they are passed as they are.
        Json inner = Json::object();
        if (auto const it = given.find("arguments"); it != given.end() && it->is_object())
            inner = std::move(*it);
        auto const name = given.find("tool");
        if (name == given.end() || !name->is_string()) co_return co_await checked(std::move(given), c);
        auto wanted = name->get<std::string>();
        co_return co_await s.call(std::move(wanted), std::move(inner), c);
    };
    tools.push_back(std::move(call));
    return tools;
}

void add_servers(mcp::Features& features, servers::Servers& s) {
    features.more = &s;
    auto own = std::move(*features.resources);
    mcp::Resources all;
    all.list = [&s, list = own.list](std::string cursor, Call& call) -> Task<mcp::Page> {
        auto page = co_await list(std::move(cursor), call);
        if (page.next_cursor.empty())  // theirs stand on the last page
            for (auto& resource : s.resources()) page.items.push_back(std::move(resource));
        co_return page;
    };
    all.templates = [&s, templates = own.templates](Call& call) -> Task<Json> {
        auto found = co_await templates(call);
        for (auto& item : s.templates()) found.push_back(std::move(item));
        co_return found;
    };
    all.read = [&s, read = own.read](std::string uri, Call& call) -> Task<std::optional<Json>> {
        if (uri.starts_with("berth://")) co_return co_await read(std::move(uri), call);
        co_return co_await s.read(std::move(uri), call);
    };
    features.roots_changed = [&s](mcp::Caller const& caller) { s.roots_changed(caller.principal); };
    all.watched = [&s](std::string const& uri) { s.watched(uri); };
    features.resources = std::move(all);
    features.complete = [&s, complete = std::move(features.complete)](Json ref, std::string argument,
                                                                      std::string value, Json context,
                                                                      Call& call) -> Task<mcp::Completion> {
        bool const ours = ref.is_object() && ref.contains("uri") && ref["uri"].is_string() &&
                          ref["uri"].get_ref<std::string const&>().starts_with("berth://");
        if (ours)
            co_return co_await complete(std::move(ref), std::move(argument), std::move(value), std::move(context),
                                        call);
        auto found = co_await s.complete(ref, argument, value, context, call);
        if (found) co_return std::move(*found);
        co_return co_await complete(std::move(ref), std::move(argument), std::move(value), std::move(context),
                                    call);
    };
}

}  // namespace host
