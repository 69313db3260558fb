#include "tools.hpp"
#include <base/hash.hpp>
#include <config/minimums.hpp>

namespace host {

Json shown(workspace::View const& v) {
    Json j = {{"workspace_id", v.id},          {"state", v.state},
              {"template", v.template_name},   {"runtime", sandbox::to_string(v.runtime)},
              {"cwd", "/workspace"},
              {"cpus", v.limits.cpus},         {"memory_mb", v.limits.memory_bytes >> 20},
              {"disk_mb", v.disk_bytes >> 20}, {"network_allow", v.allow},
              {"created_ms", v.created_ms},    {"active_ms", v.active_ms}};
    if (!v.name.empty()) j["name"] = v.name;
    if (!v.last_error.empty()) j["last_error"] = v.last_error;
    if (!v.fidelity.empty()) j["fidelity"] = v.fidelity;
    if (!v.fidelity_reason.empty()) j["fidelity_reason"] = v.fidelity_reason;
    if (v.image_bytes) j["image_bytes"] = v.image_bytes;
    return j;
}

Json shown_whole(workspace::View const& v) {
    Json j = shown(v);
    j["idle"] = {{"freeze_after_ms", v.idle.freeze_after.count()},
                 {"hibernate_after_ms", v.idle.hibernate_after.count()},
                 {"stop_after_ms", v.idle.stop_after.count()},
                 {"keep_alive", v.idle.keep_alive}};
    return j;
}

namespace {

Json const kShown = {{"workspace_id", "string"}, {"name", "string"},       {"state", "string"},
                     {"template", "string"},     {"runtime", "string"},    {"cwd", "string"},        {"cpus", "number"},
                     {"memory_mb", "integer"},   {"disk_mb", "integer"},   {"network_allow", "array"},
                     {"created_ms", "integer"},  {"active_ms", "integer"}, {"last_error", "string"},
                     {"fidelity", "string"},     {"fidelity_reason", "string"},
                     {"image_bytes", "integer"}};

std::uint64_t size_of(Json const& limits, char const* key) {
    auto parsed = config::parse_size(limits.at(key).get<std::string>());
    if (!parsed) throw BadArgument(std::string("limits.") + key + ": " + parsed.error().message());
    return *parsed;
}

void duration_of(Json const& idle, char const* key, base::milliseconds& out) {
    if (!idle.contains(key)) return;
    auto parsed = config::parse_duration(idle.at(key).get<std::string>());
    if (!parsed) throw BadArgument(std::string("idle.") + key + ": " + parsed.error().message());
    out = *parsed;
}

template <class T>
void change(Json const& given, char const* key, std::optional<T>& out) {
    if (given.contains(key)) out = given.at(key).get<T>();
}
void change(Json const& idle, char const* key, std::optional<base::milliseconds>& out) {
    if (!idle.contains(key)) return;
    base::milliseconds value{};
    duration_of(idle, key, value);
    out = value;
}

workspace::UpdateRequest update_from(Arguments const& a) {
    workspace::UpdateRequest r;
    if (auto const& idle = a.raw("idle"); idle.is_object()) {
        change(idle, "freeze_after", r.freeze_after);
        change(idle, "hibernate_after", r.hibernate_after);
        change(idle, "stop_after", r.stop_after);
        change(idle, "keep_alive", r.keep_alive);
    }
    if (auto const& limits = a.raw("limits"); limits.is_object()) {
        if (limits.contains("memory")) r.memory_bytes = size_of(limits, "memory");
        change(limits, "cpus", r.cpus);
        if (limits.contains("pids")) r.pids = static_cast<int>(limits["pids"].get<double>());
    }
    if (auto const& network = a.raw("network"); network.is_object()) change(network, "allow", r.allow);
    return r;
}

Field idle_field() {
    return {.name = "idle",
            .type = Field::Type::object,
            .description = "After how long without use it pauses, goes to disk, or keeps files only",
            .example = {{"hibernate_after", "30m"}},
            .fields = {{.name = "freeze_after", .example = "2s"},
                       {.name = "hibernate_after", .example = "30m"},
                       {.name = "stop_after", .example = "48h"},
                       {.name = "keep_alive", .type = Field::Type::boolean, .example = true}}};
}

mcp::Tool update_tool(Tools& t) {
    return make_tool(
        {.name = "workspace_update",
         .title = "Change a workspace's settings",
         .description = "Change when a workspace rests, its limits, or the hosts that it may reach, for good. What is not "
                        "given stays. Wakes nothing. Programs that run keep their environment; connections to hosts no "
                        "longer allowed end.",
         .fields = {workspace_id_field(),
                    idle_field(),
                    {.name = "limits",
                     .type = Field::Type::object,
                     .example = {{"memory", "1GiB"}, {"cpus", 1.5}},
                     .fields = {{.name = "memory", .description = "Not below what it has in use", .example = "1GiB"},
                                {.name = "cpus", .type = Field::Type::number, .example = 1.5},
                                {.name = "pids", .type = Field::Type::integer, .example = 512}}},
                    {.name = "network",
                     .type = Field::Type::object,
                     .example = {{"allow", {"pypi.org", "files.pythonhosted.org"}}},
                     .fields = {{.name = "allow",
                                 .type = Field::Type::strings,
                                 .description = "All hosts from now on; [] is none",
                                 .example = {"pypi.org", "files.pythonhosted.org"}}}}},
         .output =
             [] {
                 Json o = kShown;
                 o.update({{"pids", "integer"}, {"idle", "object"}});
                 return o;
             }(),
         .hints = {.destructive = true, .idempotent = true},
         .toolset = "lifecycle"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            if (a.raw("idle").is_null() && a.raw("limits").is_null() && a.raw("network").is_null())
                throw BadArgument("nothing to change: pass idle, limits or network, for example "
                                  "{\"idle\": {\"hibernate_after\": \"30m\"}}");
            auto request = update_from(a);
            auto done = co_await t.workspaces.update(call.caller().principal, a.string("workspace_id"),
                                                     std::move(request));
            auto const view = value_of(std::move(done));
            t.records.audit_lazy(view.id, "settings changed", a.all());
            Json out = shown_whole(view);
            out["pids"] = view.limits.pids;
            co_return ToolResult::text("Changed " + view.id + ", " + view.state + ".", std::move(out));
        });
}

workspace::CreateRequest request_from(Arguments const& a, config::Settings const& settings) {
    workspace::CreateRequest r;
    r.name = a.string("name");
    r.template_name = a.string("template");
    if (auto const runtime = a.string("runtime"); !runtime.empty()) r.runtime = sandbox::runtime_kind(runtime);
    r.env = a.string_map("env");
    r.files = a.string_map("files");
    r.git_url = a.string("git_url");
    r.idempotency_key = a.string("idempotency_key");
    r.request_hash = base::sha256_hex(base::dump(a.all()));
    if (auto const& limits = a.raw("limits"); limits.is_object()) {
        if (limits.contains("memory")) r.memory_bytes = size_of(limits, "memory");
        if (limits.contains("disk")) r.disk_bytes = size_of(limits, "disk");
        if (limits.contains("cpus")) r.cpus = limits["cpus"].get<double>();
        if (limits.contains("pids")) r.pids = static_cast<int>(limits["pids"].get<double>());
    }
    if (auto const& network = a.raw("network"); network.is_object() && network.contains("allow"))
        r.allow = network["allow"].get<std::vector<std::string>>();
    if (auto const& idle = a.raw("idle"); idle.is_object()) {
        workspace::IdlePolicy policy{settings.idle.freeze_after, settings.idle.hibernate_after,
                                     settings.idle.stop_after, settings.idle.keep_alive};
        duration_of(idle, "freeze_after", policy.freeze_after);
        duration_of(idle, "hibernate_after", policy.hibernate_after);
        duration_of(idle, "stop_after", policy.stop_after);
        if (idle.contains("keep_alive")) policy.keep_alive = idle["keep_alive"].get<bool>();
        r.idle = policy;
    }
    return r;
}

// What a call for a workspace that is there already gave in vain.
std::string beside_the_name(Arguments const& a) {
    std::string given;
    for (auto const* key : {"template", "runtime", "files", "env", "git_url", "limits", "network", "idle"})
        if (a.has(key)) given += (given.empty() ? "" : ", ") + std::string(key);
    return given;
}

std::string from_to(std::uint64_t min, std::uint64_t max) { return config::show_size(min) + " to " + config::show_size(max); }

std::string mib(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

std::vector<mcp::Tool> workspace_tools(Tools& t) {
    using Type = Field::Type;
    std::vector<mcp::Tool> tools;
    auto const& max = t.settings.max_limits;

    tools.push_back(make_tool(
        {.name = "workspace_create",
         .title = "Create a workspace",
         .description =
             "Make a Linux workspace (Python, Node, git, C/C++) in its own sandbox. /workspace and "
             "/home/agent last; the "
             "same name gives the same workspace again. No network unless network.allow names hosts.",
         .fields =
             {{.name = "name", .description = "Optional; finds it again later", .example = "data-analysis"},
              {.name = "template", .example = "base"},
              {.name = "runtime",
               .description = "native: faster, less isolated, where the operator allows it",
               .example = "gvisor",
               .values = {"gvisor", "native"}},
              {.name = "files",
               .type = Type::string_map,
               .description = "Path below /workspace to content",
               .example = {{"main.py", "print(1)"}}},
              {.name = "env", .type = Type::string_map, .example = {{"API_URL", "https://example.com"}}},
              {.name = "git_url",
               .description = "Cloned into /workspace; its host must be allowed",
               .example = "https://github.com/owner/name"},
              {.name = "limits",
               .type = Type::object,
               .example = {{"memory", "1GiB"}, {"cpus", 1.5}},
               .fields = {{.name = "memory", .description = from_to(config::kMinMemoryBytes, max.memory_bytes), .example = "1GiB"},
                          {.name = "disk", .description = from_to(config::kMinDiskBytes, max.disk_bytes), .example = "5GiB"},
                          {.name = "cpus",
                           .type = Type::number,
                           .example = 1.5,
                           .minimum = config::kMinCpus,
                           .maximum = max.cpus},
                          {.name = "pids",
                           .type = Type::integer,
                           .example = 512,
                           .minimum = config::kMinPids,
                           .maximum = max.pids}}},
              {.name = "network",
               .type = Type::object,
               .example = {{"allow", {"pypi.org", "files.pythonhosted.org"}}},
               .fields = {{.name = "allow",
                           .type = Type::strings,
                           .description = "Hosts that may be reached, \"*.\" for all below, \"*\" for "
                                          "all public ones. pip needs pypi.org and files.pythonhosted.org",
                           .example = {"pypi.org", "files.pythonhosted.org"}}}},
              idle_field(),
              {.name = "idempotency_key",
               .description = "A repeat with the same key makes nothing new",
               .max_length = 200}},
         .output =
             [] {
                 Json o = kShown;
                 o.update({{"existed", "boolean"},
                           {"source", "string"},
                           {"ready_ms", "number"},
                           {"note", "string"}});
                 return o;
             }(),
         .hints = {.idempotent = false},
         .may_be_task = true,
         .doing = "making the workspace and what is to be in it"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto made = co_await t.workspaces.create(call.caller().principal, request_from(a, t.settings));
            auto created = value_of(std::move(made));
            Json out = shown(created.view);
            out["existed"] = created.existed;
            out["source"] = created.existed ? "existing" : created.warm ? "pool" : "cold";
            out["ready_ms"] = created.ready_ms;
            std::string note = created.note;
            bool const by_name = created.existed && !created.repeat;
            if (auto const ignored = by_name ? beside_the_name(a) : ""; !ignored.empty())
                note = "It existed already: " + ignored + " of this call were not applied.";
            if (!note.empty()) out["note"] = note;
            std::string text = (created.existed ? "Workspace " : "Created workspace ") + created.view.id +
                               ", " + created.view.state + ". Work in /workspace.";
            if (!note.empty()) text += " " + note;
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "workspace_get",
         .title = "Look at a workspace",
         .description = "State, limits and last error of a workspace; with include also metrics, ports, "
                        "processes or events.",
         .fields = {workspace_id_field(),
                    {.name = "include",
                     .type = Type::strings,
                     .description = "Any of metrics, ports, processes, events",
                     .example = {"metrics", "processes"}}},
         .output =
             [] {
                 Json o = kShown;
                 o.update({{"idle", "object"},
                           {"metrics", "object"},
                           {"ports", "array"},
                           {"processes", "array"},
                           {"events", "array"}});
                 return o;
             }(),
         .hints = {.read_only = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const owner = call.caller().principal;
            auto const view = value_of(t.workspaces.get(owner, a.string("workspace_id")));
            Json out = shown_whole(view);
            std::string text = view.id + ": " + view.state + " (" + sandbox::to_string(view.runtime) + ")";
            if (!view.last_error.empty()) text += "; last sandbox: " + view.last_error;
            for (auto const& what : a.strings("include")) {
                if (what == "metrics") {
                    auto const usage = value_of(t.workspaces.usage(owner, view.id));
                    auto const disk = value_of(t.workspaces.disk(owner, view.id));
                    out["metrics"] = {{"memory_bytes", usage.memory_bytes},
                                      {"cpu_ms", usage.cpu_ms},
                                      {"pids", usage.pids},
                                      {"disk_bytes", disk.bytes},
                                      {"disk_limit_bytes", disk.bytes_limit},
                                      {"inodes", disk.inodes}};
                    text += "\nmemory " + mib(usage.memory_bytes) + ", processor " +
                            std::to_string(usage.cpu_ms) + " ms, " + std::to_string(usage.pids) +
                            " threads, disk " + mib(disk.bytes) + " of " + mib(disk.bytes_limit);
                } else if (what == "ports") {
                    if (view.state != "running" && view.state != "frozen") {
                        text += "\nports: not known while it is " + view.state + "; any command wakes it";
                        continue;
                    }
                    Json ports = Json::array();
                    {
                        auto awake = co_await t.workspaces.awake(owner, view.id);
                        auto lease = value_of(std::move(awake));
                        auto listed = co_await lease.guest().ports();
                        for (auto const& p : value_of(std::move(listed)))
                            ports.push_back({{"port", p.port},
                                             {"address", p.address},
                                             {"program", base::to_utf8(p.program)}});
                    }
                    for (auto const& p : ports)
                        text += "\nport " + std::to_string(p["port"].get<int>()) + " on " +
                                p["address"].get<std::string>() + ", " + p["program"].get<std::string>();
                    if (ports.empty()) text += "\nports: nothing listens";
                    out["ports"] = std::move(ports);
                } else if (what == "processes") {
                    auto stored = co_await t.workspaces.processes(owner, view.id, 50);
                    Json list = Json::array();
                    for (auto const& p : value_of(std::move(stored)))
                        list.push_back({{"process_id", p.id},
                                        {"command", base::to_utf8(p.command)},
                                        {"state", p.running ? "running" : "exited"},
                                        {"exit_code", p.exit_code},
                                        {"reason", p.reason}});
                    for (auto const& p : list)
                        text += "\n" + p["process_id"].get<std::string>() + "  " + p["state"].get<std::string>() + "  " +
                                p["command"].get<std::string>().substr(0, 200);
                    out["processes"] = std::move(list);
                } else if (what == "events") {
                    auto recent = co_await t.records.recent_audit(view.id, 20);
                    out["events"] = value_of(std::move(recent));
                } else {
                    throw BadArgument("include: \"" + what.substr(0, 40) +
                                      "\" is unknown; expected metrics, ports, processes or events");
                }
            }
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "workspace_list",
         .title = "List workspaces",
         .description = "Your workspaces, newest first.",
         .fields = {{.name = "limit", .type = Type::integer, .example = 50, .minimum = 1, .maximum = 200},
                    {.name = "offset", .type = Type::integer, .example = 0, .minimum = 0, .maximum = 1e6}},
         .output = {{"workspaces", "array"}, {"total", "integer"}},
         .hints = {.read_only = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const all = t.workspaces.list(call.caller().principal);
            auto const from = static_cast<std::size_t>(a.integer("offset", 0));
            auto const limit = static_cast<std::size_t>(a.integer("limit", 50));
            Json list = Json::array();
            std::string text = std::to_string(all.size()) + " workspaces";
            for (std::size_t i = from; i < all.size() && i < from + limit; ++i) {
                list.push_back(shown(all[i]));
                text += "\n" + all[i].id + "  " + all[i].state + "  " + sandbox::to_string(all[i].runtime) + "  " + all[i].name;
            }
            co_return ToolResult::text(std::move(text),
                                       {{"workspaces", std::move(list)}, {"total", all.size()}});
        }));

    tools.push_back(make_tool(
        {.name = "workspace_delete",
         .title = "Delete a workspace",
         .description = "Delete a workspace with all its files and processes. Cannot be undone.",
         .fields = {workspace_id_field()},
         .output = {{"workspace_id", "string"}, {"deleted", "boolean"}},
         .hints = {.destructive = true},
         .doing = "deleting files and snapshots"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const view = value_of(t.workspaces.get(call.caller().principal, a.string("workspace_id")));
            auto removed = co_await t.workspaces.remove(call.caller().principal, view.id);
            require(removed);
            co_return ToolResult::text("Deleted " + view.id + ".",
                                       {{"workspace_id", view.id}, {"deleted", true}});
        }));
    tools.push_back(update_tool(t));
    return tools;
}

}  // namespace host
