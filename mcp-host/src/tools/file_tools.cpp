#include "tools.hpp"
#include <base/hash.hpp>
#include <workspace/files.hpp>
#include <workspace/tool_path.hpp>

namespace host {
namespace {

constexpr std::size_t kMaxListed = 1000;
constexpr std::uint64_t kMaxCopyBytes = 1ull << 30;
constexpr std::size_t kMaxCopyEntries = 100'000;

Field path_field(char const* name = "path", char const* description = "Below /workspace or /home/agent") {
    return {.name = name,
            .description = description,
            .required = true,
            .example = "src/main.py",
            .aliases = {std::string("file_") + name},
            .max_length = 4095};
}

Task<workspace::Place> place_of(Tools& t, Call& call, Arguments const& a, std::string path) {
    auto place =
        co_await t.workspaces.place(call.caller().principal, a.string("workspace_id"), std::move(path));
    co_return value_of(std::move(place));
}

// For tools that work on the volume only.
workspace::Place on_volume(workspace::Place place) {
    if (!place.root)
        throw ToolFailure(place.path + " is outside /workspace and /home/agent; use run_command for it");
    return place;
}

// What is found beneath a place, as every tool takes it.
std::string as_given(workspace::Place const& place, std::string path) {
    using Root = workspace::ToolPath::Root;
    return workspace::as_given({place.home ? Root::home : Root::workspace, std::move(path)});
}

// Errors of work on a volume name what is beneath its root: of a file at home they would name another one.
template <class T>
T value_at(workspace::Place const& place, base::Result<T> result) {
    if (!result && place.home) throw ToolFailure(base::wrap(result.error(), "below /home/agent"));
    return value_of(std::move(result));
}
void require_at(workspace::Place const& place, base::Status const& status) {
    if (!status && place.home) throw ToolFailure(base::wrap(status.error(), "below /home/agent"));
    require(status);
}

// A sandbox keeps a file open that it has seen until it looks at the name again; one that was deleted out here would take
// up space until then. Best effort: the file is gone either way.
Task<void> let_go_inside(Tools& t, Call& call, std::string workspace, workspace::Place place) {
    auto const view = t.workspaces.get(call.caller().principal, workspace);
    if (!view || (view->state != "running" && view->state != "frozen")) co_return;
    auto awake = co_await t.workspaces.awake(call.caller().principal, workspace);
    if (!awake) co_return;
    bool const home = place.root == &place.volume->home();
    std::string path = (home ? "/home/agent/" : "/workspace/") + place.path;
    (void)co_await awake->guest().read_file(std::move(path), 1);
}

// What sleeps with a file open wakes only where that file is as it was.
Task<std::optional<workspace::Lease>> awake_for(Tools& t, Call& call, workspace::Place place, workspace::Touch touch) {
    auto awake = co_await t.workspaces.awake_for(call.caller().principal, std::move(place), touch);
    co_return value_of(std::move(awake));
}

void add_arrival(std::optional<workspace::Lease> const& lease, Json& out, std::string& text) {
    if (lease) host::add_arrival(lease->arrival(), out, text);
}

std::optional<std::string> if_sha256(Arguments const& a) {
    return a.has("if_sha256") ? std::optional(a.string("if_sha256")) : std::nullopt;
}

constexpr std::size_t kReadAtOnce = 32 * 1024;  // on the I/O thread: tens of microseconds

Field const kIfSha{.name = "if_sha256",
                   .description = "Refuse when the file's hash is another; \"\" = must not exist",
                   .max_length = 64};

}  // namespace

std::vector<mcp::Tool> file_tools(Tools& t) {
    using Type = Field::Type;
    std::vector<mcp::Tool> tools;

    tools.push_back(make_tool(
        {.name = "read_file",
         .title = "Read a file",
         .description =
             "Numbered lines of a text file, or an image. Long files give the first page and next_offset.",
         .fields = {workspace_id_field(),
                    path_field("path", "Below /workspace, or absolute"),
                    {.name = "offset",
                     .type = Type::integer,
                     .description = "First line, from 1",
                     .example = 1,
                     .minimum = 1,
                     .maximum = 1e12},
                    {.name = "limit",
                     .type = Type::integer,
                     .description = "Lines, default 2000",
                     .example = 200,
                     .minimum = 1,
                     .maximum = 100'000,
                     .aliases = {"length"}}},
         .output = {{"path", "string"},
                    {"total_lines", "integer"},
                    {"lines", "integer"},
                    {"bytes", "integer"},
                    {"sha256", "string"},
                    {"next_offset", "integer"},
                    {"binary", "boolean"},
                    {"content", "string"}},
         .hints = {.read_only = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto place = co_await place_of(t, call, a, a.string("path"));
            auto const offset = static_cast<std::uint64_t>(a.integer("offset", 0)),
                       limit = static_cast<std::uint64_t>(a.integer("limit", 0));
            workspace::FileText file;
            auto cached = place.root ? place.root->read_cached(place.path, kReadAtOnce) : std::nullopt;
            if (cached) {
                file = value_at(place, workspace::present_text(place.path, std::move(*cached), offset, limit));
            } else if (place.root) {
                auto work = [place, offset, limit] {
                    return workspace::read_text(*place.root, place.path, offset, limit);
                };
                auto read = co_await base::blocking(t.pool, std::move(work));
                file = value_at(place, std::move(read));
            } else {
                auto awake = co_await t.workspaces.awake(call.caller().principal, a.string("workspace_id"));
                auto lease = value_of(std::move(awake));
                auto bytes = co_await lease.guest().read_file(place.path, workspace::kMaxFileBytes);
                file =
                    value_of(workspace::present_text(place.path, value_of(std::move(bytes)), offset, limit));
            }
            Json out = {{"path", a.string("path")}, {"total_lines", file.total_lines},
                        {"lines", file.lines},      {"bytes", file.bytes},
                        {"sha256", file.sha256},    {"binary", file.binary}};
            if (file.next_offset) out["next_offset"] = *file.next_offset;
            // Some clients give the model the structured half only.
            if (!file.binary && file.image.empty()) out["content"] = file.text;
            std::string text = file.text;
            if (file.next_offset)
                text += "\n[" + std::to_string(file.total_lines) + " lines in all; go on with offset " +
                        std::to_string(*file.next_offset) + "]";
            auto result = ToolResult::text(std::move(text), std::move(out));
            if (!file.image.empty())
                result.content.push_back({{"type", "image"},
                                          {"data", base::base64_encode(file.image)},
                                          {"mimeType", file.image_type}});
            co_return result;
        }));

    tools.push_back(make_tool(
        {.name = "write_file",
         .title = "Write a file",
         .description = "Create, replace or append to a file; parents are made. Durable when it answers.",
         .fields = {workspace_id_field(),
                    path_field("path", "Below /workspace, or absolute"),
                    {.name = "content", .required = true, .max_length = workspace::kMaxFileBytes},
                    {.name = "mode", .example = "overwrite", .values = {"overwrite", "append"}},
                    kIfSha},
         .output = {{"path", "string"},
                    {"sha256", "string"},
                    {"bytes", "integer"},
                    {"created", "boolean"},
                    {"fidelity", "string"}},
         .hints = {.destructive = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto place = co_await place_of(t, call, a, a.string("path"));
            auto const content = a.string("content");
            if (!place.root) {
                auto awake = co_await t.workspaces.awake(call.caller().principal, a.string("workspace_id"));
                auto lease = value_of(std::move(awake));
                if (a.string("mode") == "append" || a.has("if_sha256"))
                    throw ToolFailure(place.path +
                                      ": append and if_sha256 work only below /workspace and /home/agent");
                auto done = co_await lease.guest().write_file(place.path, content);
                require(done);
                co_return ToolResult::text(
                    "Wrote " + place.path + ". It is outside the volume: it lasts as long as the sandbox.",
                    {{"path", place.path}, {"sha256", base::sha256_hex(content)}, {"bytes", content.size()}});
            }
            auto const mode =
                a.string("mode") == "append" ? workspace::WriteMode::append : workspace::WriteMode::overwrite;
            auto work = [place, content, mode, sha = if_sha256(a)] {
                return workspace::write_file(*place.root, place.path, content, mode, sha);
            };
            auto const lease = co_await awake_for(t, call, place, workspace::Touch::write);
            auto result = co_await base::blocking(t.pool, std::move(work));
            auto const written = value_at(place, std::move(result));
            t.workspaces.file_changed(place);
            Json out = {{"path", a.string("path")},
                        {"sha256", written.sha256},
                        {"bytes", written.bytes},
                        {"created", written.created}};
            auto text = (written.created ? "Created " : "Wrote ") + a.string("path") + ", " +
                        std::to_string(written.bytes) + " bytes.";
            add_arrival(lease, out, text);
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "edit_file",
         .title = "Edit a file",
         .description = "Replace exact strings; all edits or none. A string that occurs more than once needs "
                        "replace_all or more context.",
         .fields =
             {workspace_id_field(),
              path_field(),
              {.name = "edits",
               .type = Type::objects,
               .required = true,
               .example = {{{"old_string", "a = 1"}, {"new_string", "a = 2"}}},
               .fields =
                   {{.name = "old_string", .required = true, .aliases = {"oldText"}, .max_length = 4 << 20},
                    {.name = "new_string", .required = true, .aliases = {"newText"}, .max_length = 4 << 20},
                    {.name = "replace_all", .type = Type::boolean}}},
              kIfSha},
         .output =
             {{"path", "string"},
              {"sha256", "string"},
              {"replacements", "integer"},
              {"diff", "string"},
              {"fidelity", "string"}},
         .hints = {.destructive = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto place = on_volume(co_await place_of(t, call, a, a.string("path")));
            std::vector<workspace::Edit> edits;
            for (auto const& e : a.raw("edits"))
                edits.push_back({e["old_string"], e["new_string"], e.value("replace_all", false)});
            auto work = [place, edits, sha = if_sha256(a), shown = as_given(place, place.path)] {
                return workspace::edit_file(*place.root, place.path, edits, sha, shown);
            };
            auto const lease = co_await awake_for(t, call, place, workspace::Touch::write);
            auto result = co_await base::blocking(t.pool, std::move(work));
            auto edited = value_at(place, std::move(result));
            t.workspaces.file_changed(place);
            Json out = {{"path", a.string("path")},
                        {"sha256", edited.sha256},
                        {"replacements", edited.replacements},
                        {"diff", edited.diff}};
            add_arrival(lease, out, edited.diff);
            co_return ToolResult::text(std::move(edited.diff), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "search_files",
         .title = "Search files",
         .description = "Find files by glob and lines by regex (RE2) in a workspace. Skips .git, "
                        "node_modules and binaries.",
         .fields = {workspace_id_field(),
                    {.name = "path", .example = "src", .max_length = 4095},
                    {.name = "glob", .example = "*.py", .max_length = 500},
                    {.name = "regex", .example = "def \\w+", .max_length = 2000},
                    {.name = "ignore_case", .type = Type::boolean},
                    {.name = "limit", .type = Type::integer, .example = 100, .minimum = 1, .maximum = 1000}},
         .output = {{"matches", "array"}, {"truncated", "boolean"}, {"files_searched", "integer"}},
         .hints = {.read_only = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto place = on_volume(co_await place_of(t, call, a, a.string("path", ".")));
            workspace::SearchQuery query;
            query.path = place.path;
            query.glob = a.string("glob");
            query.regex = a.string("regex");
            query.ignore_case = a.boolean("ignore_case", false);
            query.limit = static_cast<std::size_t>(a.integer("limit", 100));
            auto work = [place, query] { return workspace::search(*place.root, query); };
            auto result = co_await base::blocking(t.pool, std::move(work));
            auto const found = value_at(place, std::move(result));
            Json matches = Json::array();
            std::string text;
            for (auto const& m : found.matches) {
                auto const path = as_given(place, m.path);
                matches.push_back({{"path", path}, {"line", m.line}, {"text", m.text}});
                text += m.line ? path + ":" + std::to_string(m.line) + ":" + m.text + "\n" : path + "\n";
            }
            if (found.matches.empty())
                text = "Nothing found in " + std::to_string(found.files_searched) + " files.";
            if (found.truncated) text += "[more matches were left out; narrow path or glob, or raise limit]";
            co_return ToolResult::text(base::to_utf8(text), {{"matches", std::move(matches)},
                                                             {"truncated", found.truncated},
                                                             {"files_searched", found.files_searched}});
        }));

    tools.push_back(
        make_tool({.name = "list_directory",
                   .title = "List a directory",
                   .description = "Names, kinds and sizes in a directory.",
                   .fields = {workspace_id_field(), {.name = "path", .example = "src", .max_length = 4095}},
                   .output = {{"entries", "array"}, {"truncated", "boolean"}},
                   .hints = {.read_only = true, .idempotent = true},
                   .toolset = "files"},
                  [&t](Arguments a, Call& call) -> Task<ToolResult> {
                      auto place = on_volume(co_await place_of(t, call, a, a.string("path", ".")));
                      bool more = false;
                      auto work = [place, &more] { return place.root->list(place.path, kMaxListed, more); };
                      auto result = co_await base::blocking(t.pool, std::move(work));
                      auto listed = value_at(place, std::move(result));
                      std::sort(listed.begin(), listed.end(),
                                [](auto const& x, auto const& y) { return x.name < y.name; });
                      static char const* const kinds[] = {"file", "directory", "link", "other"};
                      Json entries = Json::array();
                      std::string text;
                      for (auto const& e : listed) {
                          auto const name = base::to_utf8(e.name);
                          entries.push_back({{"name", name},
                                             {"kind", kinds[static_cast<int>(e.kind)]},
                                             {"bytes", e.size},
                                             {"modified_ms", e.modified_ms}});
                          text += e.kind == base::Beneath::Kind::directory ? name + "/\n"
                                                                          : name + "  " + std::to_string(e.size) + "\n";
                      }
                      if (more) text += "[more than 1000 entries]";
                      co_return ToolResult::text(std::move(text),
                                                 {{"entries", std::move(entries)}, {"truncated", more}});
                  }));

    struct Change {
        char const *name, *title, *description;
        bool two;
        std::function<base::Status(workspace::Place const&, workspace::Place const&, Arguments const&)> work;
    };
    for (auto const &change : {
             Change{"move_file", "Move or rename",
                    "Move or rename a file or directory; overwrite replaces a file.", true,
                    [](auto const&from, auto const&to, Arguments const&a) {
                        return from.root->rename(from.path, to.path, a.boolean("overwrite", false));
                    }},
             Change{"copy_file", "Copy", "Copy a file or a directory tree.", true,
                    [](auto const&from, auto const&to, Arguments const&) {
                        return from.root->copy(from.path, to.path, kMaxCopyBytes, kMaxCopyEntries);
                    }},
             Change{"delete_file", "Delete", "Delete a file, or a directory with recursive.", false,
                    [](auto const&at, auto const&, Arguments const&a) {
                        return at.root->remove(at.path, a.boolean("recursive", false));
                    }},
             Change{"make_directory", "Make a directory", "Make a directory and its parents.", false,
                    [](auto const&at, auto const&, Arguments const&) {
                        return at.root->make_directories(at.path);
                    }},
         }) {
        std::vector<Field> fields{workspace_id_field(), path_field()};
        if (change.two) fields.push_back(path_field("to"));
        if (change.name == std::string_view("move_file"))
            fields.push_back({.name = "overwrite", .type = Type::boolean});
        if (change.name == std::string_view("delete_file"))
            fields.push_back({.name = "recursive", .type = Type::boolean});
        tools.push_back(
            make_tool({.name = change.name,
                       .title = change.title,
                       .description = change.description,
                       .fields = fields,
                       .output = {{"path", "string"}, {"fidelity", "string"}},
                       .hints = {.destructive = true},
                       .toolset = "files",
                       .may_be_task = change.name == std::string_view("copy_file")},
                      [&t, change](Arguments a, Call& call) -> Task<ToolResult> {
                          auto from = on_volume(co_await place_of(t, call, a, a.string("path")));
                          workspace::Place to;
                          if (change.two) {
                              to = on_volume(co_await place_of(t, call, a, a.string("to")));
                              if (from.root != to.root)
                                  throw ToolFailure(
                                      "path and to must both be below /workspace, or both below /home/agent");
                          }
                          bool const takes_away = change.name == std::string_view("move_file") ||
                                                  change.name == std::string_view("delete_file");
                          std::optional<workspace::Lease> lease;
                          if (takes_away) lease = co_await awake_for(t, call, from, workspace::Touch::take_away);
                          auto work = [from, to, a, change] { return change.work(from, to, a); };
                          auto done = co_await base::blocking(t.pool, std::move(work));
                          require_at(from, done);
                          if (change.name != std::string_view("copy_file")) t.workspaces.file_changed(from);
                          if (change.two) t.workspaces.file_changed(to);
                          if (change.name == std::string_view("delete_file"))
                              co_await let_go_inside(t, call, a.string("workspace_id"), from);
                          auto const end = change.two ? a.string("to") : a.string("path");
                          Json out = {{"path", end}};
                          auto text = "Done: " + end;
                          add_arrival(lease, out, text);
                          co_return ToolResult::text(std::move(text), std::move(out));
                      }));
    }
    return tools;
}

}  // namespace host
