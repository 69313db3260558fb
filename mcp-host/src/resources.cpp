#include "resources.hpp"

#include "media_type.hpp"
#include "resource_uri.hpp"
#include "tools/process_view.hpp"
#include <base/hash.hpp>
#include <workspace/files.hpp>

#include <algorithm>
#include <charconv>

namespace host {
namespace {

using base::Beneath;
using base::errc;

constexpr std::size_t kPage = 50;
constexpr std::size_t kMaxBytes = workspace::kMaxImageBytes;
constexpr std::size_t kMaxOutput = workspace::kMaxTextBytes;
constexpr int kBadParams = -32602, kInternal = -32603;

mcp::RpcException refusal(int code, std::string message, std::string const& uri) {
    return mcp::RpcException({code, base::to_utf8(message), {{"uri", uri}}});
}

// Where a list goes on: after this workspace, in the order of Workspaces::list. The endpoint seals it.
struct Position {
    std::int64_t created_ms = 0;
    std::string id;
};

std::string to_cursor(workspace::View const& last) { return std::to_string(last.created_ms) + ' ' + last.id; }

Position from_cursor(std::string const& cursor) {
    Position at;
    auto const* const end = cursor.data() + cursor.size();
    auto const number = std::from_chars(cursor.data(), end, at.created_ms);
    if (number.ec != std::errc{} || number.ptr == end || *number.ptr != ' ')
        throw mcp::RpcException({kBadParams, "Invalid cursor", nullptr});
    at.id.assign(number.ptr + 1, end);
    return at;
}

Json text_content(std::string const& uri, std::string mime, std::string text) {
    return Json::array({{{"uri", uri}, {"mimeType", std::move(mime)}, {"text", std::move(text)}}});
}

struct Found {
    bool directory = false, more = false;
    std::string bytes;
    std::vector<Beneath::Entry> entries;
};

// Blocks.
base::Result<Found> look(workspace::Place const& place) {
    Found out;
    auto const at = place.root->stat(place.path);
    if (!at) return at.error();
    out.directory = at->kind == Beneath::Kind::directory;
    if (out.directory) {
        auto entries = place.root->list(place.path, kMaxListedEntries, out.more);
        if (!entries) return entries.error();
        out.entries = std::move(*entries);
        std::sort(out.entries.begin(), out.entries.end(),
                  [](auto const& a, auto const& b) { return a.name < b.name; });
    } else {
        auto bytes = place.root->read(place.path, kMaxBytes);
        if (!bytes) return bytes.error();
        out.bytes = std::move(*bytes);
    }
    return out;
}

std::string listing(ResourceUri const& of, Found const& found) {
    static char const* const kinds[] = {"file", "directory", "link", "other"};
    auto const prefix = of.path == "." ? "" : of.path + "/";
    Json entries = Json::array();
    for (auto const& e : found.entries)
        entries.push_back({{"name", base::to_utf8(e.name)},
                           {"kind", kinds[static_cast<int>(e.kind)]},
                           {"bytes", e.size},
                           {"modified_ms", e.modified_ms},
                           {"uri", file_uri(of.workspace, prefix + e.name)}});
    return base::dump(
        {{"path", base::to_utf8(of.path)}, {"entries", std::move(entries)}, {"truncated", found.more}});
}

bool names_nothing(base::Error const& e) {
    namespace sys = boost::system::errc;
    return base::is(e, errc::not_found) || base::is(e, errc::denied) || base::is(e, errc::invalid) ||
           e.code == sys::no_such_file_or_directory || e.code == sys::not_a_directory ||
           e.code == sys::too_many_symbolic_link_levels || e.code == sys::filename_too_long ||
           e.code == sys::permission_denied;
}

Task<std::optional<Json>> read_file(Tools& t, std::string owner, ResourceUri name, std::string uri) {
    auto place = co_await t.workspaces.place(owner, name.workspace, name.path);
    if (!place) throw refusal(kInternal, place.error().message(), uri);
    if (!place->root) co_return std::nullopt;
    auto work = [at = *place] { return look(at); };
    auto found = co_await base::blocking(t.pool, std::move(work));
    if (!found) {
        if (names_nothing(found.error())) co_return std::nullopt;
        if (base::is(found.error(), errc::limit))
            throw refusal(
                kBadParams,
                "This file is larger than 4 MiB; read_file gives it page by page, run_command any part", uri);
        throw refusal(kInternal, found.error().message(), uri);
    }
    if (found->directory) co_return text_content(uri, "application/json", listing(name, *found));
    auto const type = media_type(name.path, found->bytes);
    if (type.text) co_return text_content(uri, type.name, std::move(found->bytes));
    Json blob = {{"uri", uri}, {"mimeType", type.name}, {"blob", base::base64_encode(found->bytes)}};
    co_return Json::array({std::move(blob)});
}

Task<std::optional<Json>> read_process(Tools& t, std::string owner, ResourceUri name, std::string uri) {
    auto record = co_await t.workspaces.process(owner, name.process);
    if (!record && !base::is(record.error(), errc::not_found))
        throw refusal(kInternal, record.error().message(), uri);
    if (!record || record->workspace != name.workspace) co_return std::nullopt;
    OutputPart part;
    part.newest = true;
    part.max = kMaxOutput;
    auto look = co_await look_at_process(t, owner, std::move(*record), part);
    if (!look) throw refusal(kInternal, look.error().message(), uri);
    auto const& view = look->view;
    auto text = plain_text(view.output);
    if (view.offset > 0) text = "[" + std::to_string(view.offset) + " bytes before this]\n" + text;
    if (!text.empty() && text.back() != '\n') text += '\n';
    co_return text_content(uri, "text/plain", text + ending_line(view));
}

Task<std::optional<Json>> read(Tools& t, std::string owner, std::string uri) {
    auto name = parse_resource_uri(uri);
    if (!name) {
        if (base::is(name.error(), errc::not_found)) co_return std::nullopt;
        throw refusal(kBadParams, name.error().message(), uri);
    }
    // Names are good for tools; a resource has one name, its id.
    auto const view = t.workspaces.get(owner, name->workspace);
    if (!view || view->id != name->workspace) co_return std::nullopt;
    if (name->kind == ResourceUri::Kind::workspace)
        co_return text_content(uri, "application/json", base::dump(shown_whole(*view)));
    if (name->kind == ResourceUri::Kind::file)
        co_return co_await read_file(t, std::move(owner), std::move(*name), std::move(uri));
    co_return co_await read_process(t, std::move(owner), std::move(*name), std::move(uri));
}

}  // namespace

mcp::Page workspaces_page(std::vector<workspace::View> const& all, std::string const& cursor) {
    auto first = all.begin();
    if (!cursor.empty()) {
        auto const at = from_cursor(cursor);
        first = std::find_if(all.begin(), all.end(), [&](workspace::View const& v) {
            return std::tie(at.created_ms, v.id) > std::tie(v.created_ms, at.id);
        });
    }
    mcp::Page page;
    auto const last = all.end() - first > static_cast<std::ptrdiff_t>(kPage) ? first + kPage : all.end();
    for (auto it = first; it != last; ++it)
        page.items.push_back({{"uri", workspace_uri(it->id)},
                              {"name", it->name.empty() ? it->id : it->name},
                              {"title", "Workspace " + (it->name.empty() ? it->id : it->name)},
                              {"description", "Template " + it->template_name + ", " + it->state},
                              {"mimeType", "application/json"}});
    if (last != all.end()) page.next_cursor = to_cursor(*(last - 1));
    return page;
}

Json resource_templates() {
    return Json::array(
        {{{"uriTemplate", "berth://workspaces/{id}"},
          {"name", "workspace"},
          {"title", "Workspace"},
          {"description", "State, limits and last error, as workspace_get gives them"},
          {"mimeType", "application/json"}},
         {{"uriTemplate", "berth://workspaces/{id}/files/{+path}"},
          {"name", "file"},
          {"title", "File in a workspace"},
          {"description",
           "A file below /workspace, or below /home/agent as ~/...; a directory gives its list"}},
         {{"uriTemplate", "berth://workspaces/{id}/processes/{process_id}"},
          {"name", "process_output"},
          {"title", "Output of a command"},
          {"description", "The newest output of a command, running or ended, and how it ended"},
          {"mimeType", "text/plain"}}});
}

mcp::Resources resources(Tools& tools) {
    mcp::Resources out;
    out.list = [&tools](std::string cursor, Call& call) -> Task<mcp::Page> {
        co_return workspaces_page(tools.workspaces.list(call.caller().principal), cursor);
    };
    out.templates = [](Call&) -> Task<Json> { co_return resource_templates(); };
    out.read = [&tools](std::string uri, Call& call) -> Task<std::optional<Json>> {
        return read(tools, call.caller().principal, std::move(uri));
    };
    return out;
}

void announce_changes(workspace::Workspaces& workspaces, mcp::Hub& hub) {
    workspaces.on_change([&hub](workspace::Change const& change) {
        if (change.path.empty()) {
            if (change.list) hub.resources_changed();
            hub.resource_updated(workspace_uri(change.workspace));
            return;
        }
        hub.resource_updated(file_uri(change.workspace, change.path));
        if (change.path == "." || change.path == "~") return;
        auto const slash = change.path.rfind('/');
        hub.resource_updated(
            file_uri(change.workspace, slash == std::string::npos ? "." : change.path.substr(0, slash)));
    });
}

}  // namespace host
