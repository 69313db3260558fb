#include "tools.hpp"

namespace host {
namespace {

Json shown_snapshot(workspace::SnapshotView const& s) {
    Json j = {{"snapshot_id", s.id},
              {"workspace_id", s.workspace},
              {"fidelity", s.memory ? "memory" : "files"},
              {"files_bytes", s.files_bytes},
              {"memory_bytes", s.memory_bytes},
              {"created_ms", s.created_ms}};
    if (!s.name.empty()) j["name"] = s.name;
    if (!s.note.empty()) j["note"] = s.note;
    return j;
}

Json const kSnapshot = {{"snapshot_id", "string"},   {"workspace_id", "string"}, {"name", "string"},
                        {"fidelity", "string"},      {"note", "string"},         {"files_bytes", "integer"},
                        {"memory_bytes", "integer"}, {"created_ms", "integer"}};

std::string named(workspace::SnapshotView const& s) {
    return s.name.empty() ? s.id : "\"" + s.name + "\" (" + s.id + ")";
}

std::string whole_ms(double ms) { return std::to_string(static_cast<long long>(ms + 0.5)) + " ms"; }

std::string sizes(std::uint64_t files, std::uint64_t memory) {
    auto const mib = [](std::uint64_t bytes) { return std::to_string((bytes + (1 << 19)) >> 20) + " MiB"; };
    return " (" + mib(files) + " of files" + (memory ? ", " + mib(memory) + " of memory)" : ")");
}

// What a reader must know beside the success.
std::string fine_print(bool memory, std::string const& why, std::vector<std::string> const& dropped) {
    std::string text;
    if (!memory) text += " Files only" + (why.empty() ? std::string(".") : ": " + base::to_utf8(why) + ".");
    if (!dropped.empty()) {
        text += " Dropped:";
        for (std::size_t i = 0; i < dropped.size(); ++i) text += (i ? ", " : " ") + dropped[i];
        text += ".";
    }
    return text;
}

Field snapshot_field() {
    return {.name = "snapshot",
            .description = "Id or name",
            .required = true,
            .example = "before-upgrade",
            .max_length = 200};
}

mcp::Tool snapshot_tool(Tools& t) {
    return make_tool(
        {.name = "workspace_snapshot",
         .title = "Snapshot a workspace",
         .description = "Keep a workspace as it is now, files and memory with all processes, under a name; "
                        "it goes on running. "
                        "A sleeping one is not woken. Connections to the outside are closed by it.",
         .fields =
             {workspace_id_field(),
              {.name = "name", .description = "Optional", .example = "before-upgrade", .max_length = 200}},
         .output =
             [] {
                 Json o = kSnapshot;
                 o.update({{"dropped", "array"}, {"ms", "number"}, {"still_ms", "number"}});
                 return o;
             }(),
         .hints = {},
         .toolset = "lifecycle",
         .may_be_task = true,
         .doing = "saving memory and files"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto done = co_await t.workspaces.snapshot(call.caller().principal, a.string("workspace_id"),
                                                       a.string("name"));
            auto const made = value_of(std::move(done));
            Json out = shown_snapshot(made.snapshot);
            out["dropped"] = made.dropped;
            out["ms"] = made.ms;
            out["still_ms"] = made.still_ms;
            std::string text = "Snapshot " + named(made.snapshot) + " of " + made.snapshot.workspace +
                               " in " + whole_ms(made.ms) + "." +
                               fine_print(made.snapshot.memory, made.snapshot.note, made.dropped);
            co_return ToolResult::text(std::move(text), std::move(out));
        });
}

mcp::Tool restore_tool(Tools& t) {
    return make_tool(
        {.name = "workspace_restore",
         .title = "Restore a snapshot",
         .description = "Put a workspace back to one of its snapshots: files, memory and processes as they "
                        "were. What it is "
                        "now is lost unless keep_as names a snapshot for it.",
         .fields = {workspace_id_field(),
                    snapshot_field(),
                    {.name = "keep_as",
                     .description = "Snapshot the present state under this name first",
                     .example = "before-restore",
                     .max_length = 200}},
         .output = {{"workspace_id", "string"},
                    {"state", "string"},
                    {"snapshot_id", "string"},
                    {"fidelity", "string"},
                    {"note", "string"},
                    {"kept", "object"},
                    {"previous_state", "string"},
                    {"files_bytes", "integer"},
                    {"memory_bytes", "integer"},
                    {"dropped", "array"},
                    {"ms", "number"}},
         .hints = {.destructive = true},
         .toolset = "lifecycle",
         .may_be_task = true,
         .doing = "loading the snapshot"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            std::optional<std::string> keep_as;
            if (a.has("keep_as")) keep_as = a.string("keep_as");
            if (keep_as && keep_as->empty())
                throw BadArgument("keep_as: expected a name, for example \"before-restore\"");
            auto done = co_await t.workspaces.restore(call.caller().principal, a.string("workspace_id"),
                                                      a.string("snapshot"), std::move(keep_as));
            auto const restored = value_of(std::move(done));
            Json out = {{"workspace_id", restored.view.id},
                        {"state", restored.view.state},
                        {"snapshot_id", restored.snapshot},
                        {"fidelity", restored.memory ? "memory" : "files"},
                        {"previous_state", restored.kept ? "kept" : "lost"},
                        {"files_bytes", restored.files_bytes},
                        {"memory_bytes", restored.memory_bytes},
                        {"dropped", restored.dropped},
                        {"ms", restored.ms}};
            if (!restored.memory) out["note"] = base::to_utf8(restored.why);
            if (restored.kept) out["kept"] = shown_snapshot(*restored.kept);
            std::string text =
                restored.view.id + " is back at " + restored.snapshot + " in " + whole_ms(restored.ms) +
                sizes(restored.files_bytes, restored.memory_bytes) + "." +
                fine_print(restored.memory, restored.why, restored.dropped) + " What it was before is " +
                (restored.kept ? "kept as " + named(*restored.kept) : std::string("gone")) + ".";
            co_return ToolResult::text(std::move(text), std::move(out));
        });
}

mcp::Tool fork_tool(Tools& t) {
    return make_tool(
        {.name = "workspace_fork",
         .title = "Fork a workspace",
         .description = "Make independent copies of a workspace with its files, memory and running "
                        "processes, all of them or "
                        "none. Each has its own id, machine id and process ids; the original goes on.",
         .fields = {workspace_id_field(),
                    {.name = "count",
                     .type = Field::Type::integer,
                     .example = 3,
                     .minimum = 1,
                     .maximum = workspace::kMaxForks},
                    {.name = "names",
                     .type = Field::Type::strings,
                     .description = "Names of the first copies",
                     .example = {"variant-a", "variant-b"}}},
         .output = {{"workspaces", "array"},
                    {"fidelity", "string"},
                    {"note", "string"},
                    {"files_bytes", "integer"},
                    {"memory_bytes", "integer"},
                    {"dropped", "array"},
                    {"ms", "number"},
                    {"still_ms", "number"}},
         .hints = {},
         .toolset = "lifecycle",
         .may_be_task = true,
         .doing = "copying memory and files"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto names = a.strings("names");
            auto const count = static_cast<int>(
                a.integer("count", names.empty() ? 1 : static_cast<std::int64_t>(names.size())));
            auto done = co_await t.workspaces.fork(call.caller().principal, a.string("workspace_id"), count,
                                                   std::move(names));
            auto const forked = value_of(std::move(done));
            Json list = Json::array();
            std::string text = "Forked into " + std::to_string(forked.workspaces.size()) + " in " +
                               whole_ms(forked.ms) + sizes(forked.files_bytes, forked.memory_bytes) +
                               (forked.workspaces.size() > 1 ? " each." : ".") +
                               fine_print(forked.memory, forked.why, forked.dropped);
            for (std::size_t i = 0; i < forked.workspaces.size(); ++i) {
                auto const& view = forked.workspaces[i];
                Json one = shown(view);
                Json processes = Json::array();
                for (auto const& [origin, own] : forked.processes[i])
                    processes.push_back({{"process_id", own}, {"origin", origin}});
                one["processes"] = std::move(processes);
                text += "\n" + view.id + "  " + view.state + (view.name.empty() ? "" : "  " + view.name);
                list.push_back(std::move(one));
            }
            Json out = {{"workspaces", std::move(list)},
                        {"fidelity", forked.memory ? "memory" : "files"},
                        {"files_bytes", forked.files_bytes},
                        {"memory_bytes", forked.memory_bytes},
                        {"dropped", forked.dropped},
                        {"ms", forked.ms},
                        {"still_ms", forked.still_ms}};
            if (!forked.memory) out["note"] = base::to_utf8(forked.why);
            co_return ToolResult::text(std::move(text), std::move(out));
        });
}

mcp::Tool list_snapshots_tool(Tools& t) {
    return make_tool({.name = "snapshot_list",
                      .title = "List snapshots",
                      .description = "The snapshots of a workspace, newest first.",
                      .fields = {workspace_id_field()},
                      .output = {{"snapshots", "array"}},
                      .hints = {.read_only = true, .idempotent = true},
                      .toolset = "lifecycle"},
                     [&t](Arguments a, Call& call) -> Task<ToolResult> {
                         auto const all = value_of(
                             t.workspaces.snapshots(call.caller().principal, a.string("workspace_id")));
                         Json list = Json::array();
                         std::string text = std::to_string(all.size()) + " snapshots";
                         for (auto const& s : all) {
                             list.push_back(shown_snapshot(s));
                             text += "\n" + s.id + "  " + (s.memory ? "memory" : "files") + "  " + s.name;
                         }
                         co_return ToolResult::text(std::move(text), {{"snapshots", std::move(list)}});
                     });
}

mcp::Tool delete_snapshot_tool(Tools& t) {
    return make_tool({.name = "snapshot_delete",
                      .title = "Delete a snapshot",
                      .description = "Delete a snapshot of a workspace. The workspace itself is not touched.",
                      .fields = {workspace_id_field(), snapshot_field()},
                      .output = {{"snapshot_id", "string"}, {"deleted", "boolean"}},
                      .hints = {.destructive = true},
                      .toolset = "lifecycle"},
                     [&t](Arguments a, Call& call) -> Task<ToolResult> {
                         auto done = co_await t.workspaces.delete_snapshot(
                             call.caller().principal, a.string("workspace_id"), a.string("snapshot"));
                         auto const gone = value_of(std::move(done));
                         co_return ToolResult::text("Deleted snapshot " + named(gone) + ".",
                                                    {{"snapshot_id", gone.id}, {"deleted", true}});
                     });
}

}  // namespace

std::vector<mcp::Tool> snapshot_tools(Tools& t) {
    std::vector<mcp::Tool> tools;
    for (auto make : {snapshot_tool, restore_tool, fork_tool, list_snapshots_tool, delete_snapshot_tool})
        tools.push_back(make(t));
    return tools;
}

}  // namespace host
