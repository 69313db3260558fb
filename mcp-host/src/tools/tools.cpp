#include "tools.hpp"

#include "ticking.hpp"

#include <base/json.hpp>

#include <spdlog/spdlog.h>

namespace host {
namespace {

constexpr base::milliseconds kSilence{3'000};  // clients give up on a silent call after a minute, some earlier

Task<ToolResult> run_checked(std::vector<Field> const& fields, Handler const& handler, Json arguments, Call& call) {
    std::string failed;
    try {
        Arguments checked(fields, std::move(arguments));
        co_return co_await handler(std::move(checked), call);
    } catch (BadArgument const& e) {
        failed = e.message;
    } catch (ToolFailure const& e) {
        failed = e.message;
    }
    co_return ToolResult::failure(base::to_utf8(failed));
}

}  // namespace

Field workspace_id_field() {
    Field f;
    f.name = "workspace_id";
    f.required = true;
    f.example = "ws-...";
    f.description = "Id or name of the workspace";
    f.max_length = 100;
    return f;
}

mcp::Tool make_tool(ToolSpec spec, Handler handler) {
    mcp::Tool tool;
    tool.name = spec.name;
    tool.toolset = spec.toolset;
    tool.may_be_task = spec.may_be_task;
    Json properties = Json::object();
    for (auto const& [name, type] : spec.output.items())
        properties[name] = type.is_string() ? Json{{"type", type}} : type;
    tool.definition = {{"name", spec.name},
                       {"title", spec.title},
                       {"description", spec.description},
                       {"inputSchema", schema_of(spec.fields)},
                       {"outputSchema", {{"type", "object"}, {"properties", std::move(properties)}}},
                       {"annotations",
                        {{"readOnlyHint", spec.hints.read_only},
                         {"destructiveHint", spec.hints.destructive},
                         {"idempotentHint", spec.hints.idempotent},
                         {"openWorldHint", spec.hints.open_world}}}};
    auto doing = spec.doing.empty() ? spec.title : spec.doing;
    tool.run = [fields = spec.fields, handler = std::move(handler),
                doing = std::move(doing)](Json arguments, Call& call) -> Task<ToolResult> {
        if (!call.wants_progress()) co_return co_await run_checked(fields, handler, std::move(arguments), call);
        Ticking ticking(call);
        auto work = run_checked(fields, handler, std::move(arguments), ticking);
        co_return co_await ticking.run(std::move(work), doing, kSilence);
    };
    return tool;
}

std::string plain_text(std::string_view s) {
    std::string out;
    out.reserve(s.size());
    std::size_t line = 0;  // where the current line begins in `out`
    for (std::size_t i = 0; i < s.size(); ++i) {
        char const c = s[i];
        if (c == '\x1b') {
            // CSI ... final byte, OSC ... BEL or ST, or a two-character escape (ECMA-48).
            if (i + 1 >= s.size()) break;
            if (s[i + 1] == '[') {
                i += 2;
                while (i < s.size() && (s[i] < '@' || s[i] > '~')) ++i;
            } else if (s[i + 1] == ']') {
                i += 2;
                while (i < s.size() && s[i] != '\a' && s[i] != '\x1b') ++i;
                if (i + 1 < s.size() && s[i] == '\x1b') ++i;
            } else {
                ++i;
            }
        } else if (c == '\r') {
            if (i + 1 < s.size() && s[i + 1] == '\n') continue;
            if (i + 1 < s.size()) out.resize(line);  // a progress bar draws its line anew
        } else if (c == '\b') {
            if (out.size() > line) out.pop_back();
        } else if (c == '\n') {
            out += c;
            line = out.size();
        } else if (static_cast<unsigned char>(c) >= 0x20 || c == '\t') {
            out += c;
        }
    }
    return base::to_utf8(out);
}

}  // namespace host
