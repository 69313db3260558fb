#include "offer.hpp"

#include "clean.hpp"
#include "names.hpp"

#include <algorithm>

namespace servers {
namespace {

std::vector<base::Json> array_of(base::Json const& j, char const* name) {
    std::vector<base::Json> out;
    if (auto const it = j.find(name); it != j.end() && it->is_array())
        for (auto const& item : *it)
            if (item.is_object()) out.push_back(item);
    return out;
}

bool matches_any(std::vector<std::string> const& patterns, std::string const& name) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](auto const& p) { return matches_pattern(p, name); });
}

/// ui:// links of a tool, in the new place and the old.
void map_ui_links(base::Json& definition, std::string const& server) {
    auto const meta = definition.find("_meta");
    if (meta == definition.end() || !meta->is_object()) return;
    auto const map = [&](base::Json& value) {
        if (value.is_string()) value = public_uri(server, value.get<std::string>());
    };
    if (auto const ui = meta->find("ui"); ui != meta->end() && ui->is_object() && ui->contains("resourceUri"))
        map((*ui)["resourceUri"]);
    if (meta->contains("ui/resourceUri")) map((*meta)["ui/resourceUri"]);
}

constexpr std::string_view kUi = "ui://";

void make_regular_items(std::vector<base::Json>& items, std::initializer_list<char const*> needed) {
    for (auto& item : items) {
        for (auto const* key : {"name", "title", "description", "uri", "uriTemplate", "mimeType"})
            if (auto const it = item.find(key); it != item.end() && !it->is_string()) item.erase(it);
        if (auto const it = item.find("execution"); it != item.end() && !it->is_object()) item.erase(it);
    }
    std::erase_if(items, [&](auto const& item) {
        return std::any_of(needed.begin(), needed.end(), [&](auto const* key) { return text_of(item, key).empty(); });
    });
}

}  // namespace

std::string text_of(base::Json const& object, char const* key) {
    if (!object.is_object()) return {};
    auto const it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

void make_regular(Offer& o) {
    make_regular_items(o.tools, {"name"});
    make_regular_items(o.prompts, {"name"});
    make_regular_items(o.resources, {"name", "uri"});
    make_regular_items(o.templates, {"name", "uriTemplate"});
}

base::Json to_json(Offer const& o) {
    return {{"tools", o.tools},
            {"prompts", o.prompts},
            {"resources", o.resources},
            {"templates", o.templates},
            {"name", o.name},
            {"version", o.version},
            {"instructions", o.instructions},
            {"revision", o.revision},
            {"invisible", o.invisible_removed}};
}

Offer offer_from(base::Json const& j) {
    Offer o;
    if (!j.is_object()) return o;
    o.tools = array_of(j, "tools");
    o.prompts = array_of(j, "prompts");
    o.resources = array_of(j, "resources");
    o.templates = array_of(j, "templates");
    o.name = text_of(j, "name");
    o.version = text_of(j, "version");
    o.instructions = text_of(j, "instructions");
    o.revision = text_of(j, "revision");
    if (auto const it = j.find("invisible"); it != j.end() && it->is_number_unsigned())
        o.invisible_removed = it->get<std::size_t>();
    make_regular(o);
    return o;
}

std::vector<ShownTool> shown_tools(config::ServerEntry const& entry, std::vector<base::Json> const& tools,
                                   std::size_t name_limit) {
    std::vector<ShownTool> out;
    for (auto const& tool : tools) {
        ShownTool shown;
        shown.name = text_of(tool, "name");
        if (shown.name.empty() || matches_any(entry.tools.deny, shown.name)) continue;
        if (entry.tools.allow && !matches_any(*entry.tools.allow, shown.name)) continue;
        auto const renamed = entry.tools.rename.find(shown.name);
        shown.public_name = public_name(
            entry.name, renamed == entry.tools.rename.end() ? shown.name : renamed->second, name_limit);
        shown.definition = tool;
        shown.definition["name"] = shown.public_name;
        if (auto const it = entry.tools.describe.find(shown.name); it != entry.tools.describe.end())
            shown.definition["description"] = it->second;
        // How the server runs it is between the two of us: clients of every era call it in the ordinary way.
        if (auto const it = shown.definition.find("execution"); it != shown.definition.end()) {
            shown.needs_task = text_of(*it, "taskSupport") == "required";
            shown.definition.erase(it);
        }
        map_ui_links(shown.definition, entry.name);
        shown.warnings = suspicious_phrases(text_of(shown.definition, "description"));
        out.push_back(std::move(shown));
    }
    return out;
}

bool is_own_uri(std::string_view uri) {
    constexpr std::string_view own = "berth:";
    return uri.size() >= own.size() && std::equal(own.begin(), own.end(), uri.begin(), [](char a, char b) {
               return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
           });
}

std::string public_uri(std::string const& server, std::string const& uri) {
    return uri.starts_with(kUi) ? std::string(kUi) + server + "/" + uri.substr(kUi.size()) : uri;
}

std::string upstream_uri(std::string const& server, std::string const& uri) {
    auto const head = std::string(kUi) + server + "/";
    return uri.starts_with(head) ? std::string(kUi) + uri.substr(head.size()) : uri;
}

}  // namespace servers
