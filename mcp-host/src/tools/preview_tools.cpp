#include "tools.hpp"

#include <algorithm>
#include <preview/previews.hpp>

namespace host {
namespace {

constexpr std::int64_t kDefaultExpiry = 3600, kMaxExpiry = 30 * 86'400;
constexpr std::int64_t kMaxWaitMs = 50'000;  // under the minute that clients give a call

Field port_field(bool required, std::string description) {
    Field f;
    f.name = "port";
    f.type = Field::Type::integer;
    f.required = required;
    f.description = std::move(description);
    f.example = 3000;
    f.minimum = 1;
    f.maximum = 65535;
    return f;
}

Json ports_of(std::vector<preview::Listener> const& listening) {
    Json out = Json::array();
    for (auto const& l : listening)
        out.push_back({{"port", l.port}, {"address", l.address}, {"program", l.program}});
    return out;
}

std::string listed(std::vector<preview::Listener> const& listening) {
    std::string out;
    for (auto const& l : listening)
        out += (out.empty() ? "" : ", ") + std::to_string(l.port) + " (" + l.program + ")";
    return out;
}

std::int64_t seconds_until(std::int64_t unix_ms) {
    using std::chrono::system_clock;
    auto const now = std::chrono::duration_cast<base::milliseconds>(system_clock::now().time_since_epoch()).count();
    return (unix_ms - now + 999) / 1000;
}

preview::LinkRequest request_of(Arguments const& a, int port) {
    preview::LinkRequest r;
    r.workspace = a.string("workspace_id");
    r.port = port;
    r.path = a.string("path", "/");
    if (!r.path.starts_with('/')) r.path.insert(0, "/");
    if (auto const access = a.string("access"); !access.empty())
        r.access = access == "public" ? preview::Access::open : preview::Access::by_link;
    r.expires = std::chrono::seconds(a.integer("expires_s", kDefaultExpiry));
    r.domain = a.string("domain", "");
    if (auto const& routes = a.raw("routes"); routes.is_array()) {
        r.rules.emplace();
        for (auto const& route : routes)
            (*r.rules)[route.at("path").get<std::string>()] = route.at("port").get<int>();
    }
    return r;
}

mcp::Tool url_tool(Tools& t) {
    using Type = Field::Type;
    return make_tool(
        {.name = "get_preview_url",
         .title = "URL of a server inside",
         .description =
             "A live URL of a port that a program in the workspace listens on (HTTP, WebSocket). Private by "
             "default: the link holds its access. Says which ports listen when the one asked for does not.",
         .fields = {workspace_id_field(),
                    port_field(false, "Default: the port that is listened on"),
                    {.name = "path", .example = "/docs", .max_length = 4096},
                    {.name = "access",
                     .description = "Default: as it is, private at first",
                     .example = "private",
                     .values = {"private", "public"}},
                    {.name = "expires_s",
                     .type = Type::integer,
                     .description = "Default 3600",
                     .example = 3600,
                     .minimum = 1,
                     .maximum = kMaxExpiry},
                    {.name = "wait_ready_ms",
                     .type = Type::integer,
                     .description = "Wait so long for an HTTP answer",
                     .example = 10'000,
                     .minimum = 0,
                     .maximum = kMaxWaitMs},
                    {.name = "domain",
                     .description = "A name for it that the operator set aside",
                     .example = "shop.example.com",
                     .max_length = 253},
                    {.name = "routes",
                     .type = Type::objects,
                     .description = "Path prefixes answered by other ports",
                     .example = Json::array({{{"path", "/api"}, {"port", 8000}}}),
                     .fields = {{.name = "path", .required = true, .example = "/api", .max_length = 4096},
                                port_field(true, "")}}},
         .output = {{"url", "string"},
                    {"port", "integer"},
                    {"access", "string"},
                    {"token", "string"},
                    {"expires_s", "integer"},
                    {"ready", "boolean"},
                    {"status_code", "integer"},
                    {"listening_ports", "array"},
                    {"hint", "string"}},
         .hints = {.idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const owner = call.caller().principal;
            int port = static_cast<int>(a.integer("port", 0));
            auto const asked = request_of(a, port);
            base::milliseconds const wait(a.integer("wait_ready_ms", 0));
            auto looked = co_await t.previews.look(owner, asked.workspace, port, asked.path, wait, asked.rules);
            auto const ready = value_of(std::move(looked));
            if (port == 0) throw ToolFailure(ready.hint);
            auto wanted = asked;
            wanted.port = port;
            auto made = co_await t.previews.link(owner, std::move(wanted));
            auto const link = value_of(std::move(made));
            bool const open = link.access == preview::Access::open;
            t.records.audit_lazy(link.workspace, "preview link",
                                 {{"port", port}, {"access", open ? "public" : "private"}});
            Json out = {{"url", link.url},
                        {"port", port},
                        {"access", open ? "public" : "private"},
                        {"expires_s", seconds_until(link.expires_ms)},
                        {"ready", ready.ready}};
            if (!open) out["token"] = link.token;
            if (ready.status != 0) out["status_code"] = ready.status;
            if (!ready.ready && ready.awake) out["listening_ports"] = ports_of(ready.listening);
            if (!ready.hint.empty()) out["hint"] = ready.hint;
            std::string text = link.url;
            if (!ready.hint.empty()) text += "\n" + ready.hint;
            if (!ready.ready && !ready.listening.empty())
                text += " Listening: " + listed(ready.listening) + ".";
            if (ready.status >= 400)
                text += "\nThe program answers " + std::to_string(ready.status) + " there.";
            co_return ToolResult::text(std::move(text), std::move(out));
        });
}

Json shown(preview::View const& v) {
    Json j = {{"workspace_id", v.workspace},
              {"port", v.port},
              {"origin", v.origin},
              {"access", v.revoked                           ? "revoked"
                         : v.access == preview::Access::open ? "public"
                                                             : "private"},
              {"expires_ms", v.expires_ms},
              {"open", v.open},
              {"requests", v.requests}};
    for (auto const& [path, port] : v.rules) j["routes"].push_back({{"path", path}, {"port", port}});
    return j;
}

mcp::Tool list_tool(Tools& t) {
    using Type = Field::Type;
    auto id = workspace_id_field();
    id.required = false;
    return make_tool(
        {.name = "preview_list",
         .title = "List previews",
         .description = "Previews with their access, open connections and number of requests; with log also "
                        "the last requests.",
         .fields = {id,
                    port_field(false, ""),
                    {.name = "log",
                     .type = Type::integer,
                     .description = "So many of the last requests of each",
                     .example = 20,
                     .minimum = 0,
                     .maximum = 200}},
         .output = {{"previews", "array"}},
         .hints = {.read_only = true},
         .toolset = "preview"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const port = static_cast<int>(a.integer("port", 0));
            auto const log = static_cast<std::size_t>(a.integer("log", 0));
            Json all = Json::array();
            std::string text;
            for (auto const& v : t.previews.list(call.caller().principal, a.string("workspace_id"))) {
                if (port != 0 && v.port != port) continue;
                auto j = shown(v);
                text += v.origin + "  " + j["access"].get<std::string>() + ", " + std::to_string(v.requests) +
                        " requests\n";
                if (log > 0) {
                    j["log"] = Json::array();
                    for (auto const& e : t.previews.log(v.preview_id, log)) {
                        j["log"].push_back({{"at_ms", e.at_ms},
                                            {"visitor", e.visitor},
                                            {"method", base::to_utf8(e.method)},
                                            {"path", base::to_utf8(e.path)},
                                            {"status", e.status},
                                            {"by", e.by},
                                            {"sent", e.sent},
                                            {"received", e.received},
                                            {"took_ms", e.took_ms}});
                        text += "  " + std::to_string(e.status) + " " + base::to_utf8(e.method) + " " +
                                base::to_utf8(e.path) + " (" + e.by + ", " + std::to_string(e.took_ms) +
                                " ms)\n";
                    }
                }
                all.push_back(std::move(j));
            }
            if (text.empty()) text = "No previews. get_preview_url makes one.";
            co_return ToolResult::text(std::move(text), {{"previews", std::move(all)}});
        });
}

mcp::Tool revoke_tool(Tools& t) {
    return make_tool({.name = "preview_revoke",
                      .title = "Revoke previews",
                      .description = "Makes all links, tokens and cookies of a port (or of every port) void "
                                     "at once and ends its open "
                                     "connections. get_preview_url makes new links.",
                      .fields = {workspace_id_field(), port_field(false, "Default: all of the workspace")},
                      .output = {{"revoked", "integer"}},
                      .hints = {.destructive = true, .idempotent = true},
                      .toolset = "preview"},
                     [&t](Arguments a, Call& call) -> Task<ToolResult> {
                         auto const port = static_cast<int>(a.integer("port", 0));
                         auto done = co_await t.previews.revoke(call.caller().principal,
                                                                a.string("workspace_id"), port);
                         int const count = value_of(std::move(done));
                         t.records.audit_lazy(a.string("workspace_id"), "preview revoked", {{"port", port}});
                         co_return ToolResult::text(
                             "Revoked " + std::to_string(count) + (count == 1 ? " preview." : " previews."),
                             {{"revoked", count}});
                     });
}

}  // namespace

std::vector<mcp::Tool> preview_tools(Tools& t) {
    std::vector<mcp::Tool> tools;
    tools.push_back(url_tool(t));
    tools.push_back(list_tool(t));
    tools.push_back(revoke_tool(t));
    tools.push_back(preview_check_tool(t));
    return tools;
}

}  // namespace host
