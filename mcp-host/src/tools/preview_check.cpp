#include "tools.hpp"
#include <base/hash.hpp>

#include <preview/browser.hpp>
#include <preview/previews.hpp>

namespace host {
namespace {

constexpr base::milliseconds kVisitLimit{20'000};
constexpr int kMaxHops = 5;
constexpr std::size_t kShownText = 1'500;

/// What a page says: its title, and the text of its body without markup.
struct PageText {
    std::string title, text;
};
PageText read_page(std::string_view html) {
    PageText out;
    std::string name;
    auto const lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    std::string_view skipped;  // the element whose contents are no text
    bool in_title = false;
    for (std::size_t i = 0; i < html.size(); ++i) {
        if (html[i] != '<') {
            if (!skipped.empty()) continue;
            auto& to = in_title ? out.title : out.text;
            bool const space = static_cast<unsigned char>(html[i]) <= 0x20;
            if (!space)
                to += html[i];
            else if (!to.empty() && to.back() != ' ')
                to += ' ';
            continue;
        }
        auto const end = html.find('>', i);
        if (end == html.npos) break;
        name.clear();
        for (std::size_t j = i + 1; j < end && name.size() < 16; ++j) {
            char const c = lower(html[j]);
            if (!((c >= 'a' && c <= 'z') || (c == '/' && name.empty()))) break;
            name += c;
        }
        if (skipped.empty() && (name == "script" || name == "style"))
            skipped = name == "script" ? "/script" : "/style";
        else if (!skipped.empty() && name == skipped)
            skipped = {};
        if (name == "title") in_title = true;
        if (name == "/title") in_title = false;
        if (!out.text.empty() && out.text.back() != ' ') out.text += ' ';
        i = end;
    }
    out.title = base::to_utf8(std::string_view(out.title).substr(0, 200));
    out.text = base::to_utf8(std::string_view(out.text).substr(0, kShownText));
    return out;
}

/// What the program answers at a path, and where its own redirects lead.
struct Fetched {
    preview::Visit visit;
    std::string path;
};
Task<base::Result<Fetched>> fetch(Tools& t, preview::Link const& link, std::string path) {
    Fetched out;
    for (int hop = 0; hop <= kMaxHops; ++hop) {
        auto visited = co_await t.previews.visit(link, path, kVisitLimit);
        if (!visited && hop > 0 && base::is(visited.error(), base::errc::invalid)) break;  // leads nowhere
        if (!visited) co_return visited.error();
        out.visit = std::move(*visited);
        out.path = path;
        if (out.visit.status < 300 || out.visit.status > 399 || out.visit.location.empty()) break;
        auto next = out.visit.location;
        if (next.starts_with(link.origin + "/")) next = next.substr(link.origin.size());
        if (!next.starts_with('/') || next.starts_with("//"))
            break;  // to another server: for the visitor to decide
        path = next.substr(0, next.find('#'));
    }
    co_return out;
}

void tell(std::string& text, char const* title, std::vector<preview::Said> const& said) {
    if (said.empty()) return;
    text += std::string("\n") + title + ":";
    for (auto const& s : said)
        text += "\n- " + (s.level == "warning" ? "warning: " : std::string()) + s.text +
                (s.where.empty() ? "" : " (" + s.where + ")");
}

Json list_of(std::vector<preview::Said> const& said) {
    Json out = Json::array();
    for (auto const& s : said) out.push_back({{"level", s.level}, {"text", s.text}, {"where", s.where}});
    return out;
}

/// Adds what the browser saw to what the fetch has told.
void add_sight(preview::Sight const& sight, std::string const& origin, Json& out, std::string& text) {
    if (!sight.url.empty()) out["url"] = sight.url.starts_with('/') ? origin + sight.url : sight.url;
    out["browser"] = "chromium";
    out["loaded"] = sight.loaded;
    out["title"] = sight.title;
    out["text"] = sight.text;
    out["console"] = list_of(sight.console);
    out["exceptions"] = list_of(sight.exceptions);
    out["failed_requests"] = Json::array();
    out["notes"] = sight.notes;
    if (!sight.title.empty()) text += "\nTitle: " + sight.title;
    for (auto const& note : sight.notes) text += "\nNote: " + note;
    tell(text, "Exceptions", sight.exceptions);
    tell(text, "Console", sight.console);
    if (!sight.failed.empty()) text += "\nFailed requests:";
    for (auto const& f : sight.failed) {
        text += "\n- " + f.method + " " + f.url + ": " + f.reason;
        out["failed_requests"].push_back({{"method", f.method}, {"url", f.url}, {"reason", f.reason}});
    }
    if (sight.exceptions.empty() && sight.console.empty() && sight.failed.empty() && sight.loaded)
        text += "\nNo console errors, exceptions or failed requests.";
    if (!sight.text.empty()) text += "\nIt shows:\n" + sight.text;
    if (sight.picture)
        out["screenshot"] = {{"type", sight.picture->type},
                             {"width", sight.picture->width},
                             {"height", sight.picture->height},
                             {"bytes", sight.picture->bytes.size()}};
}

}  // namespace

mcp::Tool preview_check_tool(Tools& t) {
    using Type = Field::Type;
    auto id = workspace_id_field();
    return make_tool(
        {.name = "preview_check",
         .title = "Look at a preview",
         .description = "Opens a page of a port as a visitor would: status, title, text and, in a real "
                        "browser, console errors, exceptions, "
                        "failed requests and a screenshot of the first 1024x640 pixels.",
         .fields =
             {id,
              {.name = "port",
               .type = Type::integer,
               .required = true,
               .example = 3000,
               .minimum = 1,
               .maximum = 65535},
              {.name = "path", .example = "/", .max_length = 4096},
              {.name = "screenshot", .type = Type::boolean, .description = "Default true", .example = true}},
         .output = {{"status_code", "integer"},
                    {"url", "string"},
                    {"content_type", "string"},
                    {"title", "string"},
                    {"text", "string"},
                    {"bytes", "integer"},
                    {"cut", "boolean"},
                    {"browser", "string"},
                    {"loaded", "boolean"},
                    {"console", "array"},
                    {"exceptions", "array"},
                    {"failed_requests", "array"},
                    {"notes", "array"},
                    {"screenshot", "object"}},
         .hints = {.read_only = true, .open_world = true},
         .toolset = "preview"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const port = static_cast<int>(a.integer("port", 0));
            auto path = a.string("path", "/");
            if (!path.starts_with('/')) path.insert(0, "/");
            std::string fragment;  // is the browser's alone
            if (auto const hash = path.find('#'); hash != path.npos) {
                fragment = path.substr(hash);
                path.resize(hash);
            }
            // Access of its own for a moment; what others were given stays as it is.
            auto made = co_await t.previews.pass(call.caller().principal, a.string("workspace_id"), port);
            auto const link = value_of(std::move(made));
            auto fetching = co_await fetch(t, link, path);
            auto const fetched = value_of(std::move(fetching));
            auto const& visit = fetched.visit;
            bool const html = visit.type.find("html") != std::string::npos;
            auto const page =
                html ? read_page(visit.body) : PageText{"", base::to_utf8(visit.body.substr(0, kShownText))};
            Json out = {{"status_code", visit.status},
                        {"url", link.origin + fetched.path},
                        {"content_type", base::to_utf8(visit.type)},
                        {"title", page.title},
                        {"text", page.text},
                        {"bytes", visit.body.size()},
                        {"cut", visit.cut}};
            std::string text = std::to_string(visit.status) + " " + link.origin + fetched.path;
            if (!visit.location.empty())
                text += "\nLeads to: " + base::to_utf8(visit.location.substr(0, 500));
            std::string none;
            std::optional<preview::Picture> picture;
            if (!html) {
                none = "not needed: the answer is no page";
            } else if (!t.browser.there()) {
                none = "no browser: install chromium; status and title come without it";
            } else {
                bool const picture_too = a.boolean("screenshot", true);
                auto const page_path = fetched.path + fragment;
                auto seen = co_await t.previews.see(t.browser, link, page_path, picture_too);
                if (seen) {
                    add_sight(*seen, link.origin, out, text);
                    picture = std::move(seen->picture);
                } else {
                    none = seen.error().message();
                }
            }
            if (!none.empty()) {
                out["browser"] = "none: " + none;
                if (html) text += "\nSeen without a browser (" + none + ").";
                if (!page.title.empty()) text += "\nTitle: " + page.title;
                if (!page.text.empty()) text += "\n" + page.text;
            }
            auto result = ToolResult::text(std::move(text), std::move(out));
            if (picture)
                result.content.push_back({{"type", "image"},
                                          {"data", base::base64_encode(picture->bytes)},
                                          {"mimeType", picture->type}});
            co_return result;
        });
}

}  // namespace host
