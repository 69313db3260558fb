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

}  // namespace

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
    o.name = j.value("name", "");
    o.version = j.value("version", "");
    o.instructions = j.value("instructions", "");
    o.revision = j.value("revision", "");
    o.invisible_removed = j.value("invisible", std::size_t(0));
    return o;
}

std::vector<ShownTool> shown_tools(config::ServerEntry const& entry, std::vector<base::Json> const& tools,
                                   std::size_t name_limit) {
    std::vector<ShownTool> out;
    for (auto const& tool : tools) {
        ShownTool shown;
        shown.name = tool.value("name", "");
        if (shown.name.empty() || matches_any(entry.tools.deny, shown.name)) continue;
        if (!entry.tools.allow.empty() && !matches_any(entry.tools.allow, shown.name)) continue;
        auto const renamed = entry.tools.rename.find(shown.name);
        shown.public_name = public_name(
            entry.name, renamed == entry.tools.rename.end() ? shown.name : renamed->second, name_limit);
        shown.definition = tool;
        shown.definition["name"] = shown.public_name;
        if (auto const it = entry.tools.describe.find(shown.name); it != entry.tools.describe.end())
            shown.definition["description"] = it->second;
        // How the server runs it is between the two of us: clients of every era call it in the ordinary way.
        if (auto const it = shown.definition.find("execution"); it != shown.definition.end()) {
            shown.needs_task = it->is_object() && it->value("taskSupport", "") == "required";
            shown.definition.erase(it);
        }
        map_ui_links(shown.definition, entry.name);
        shown.warnings = suspicious_phrases(shown.definition.value("description", ""));
        out.push_back(std::move(shown));
    }
    return out;
}

std::string public_uri(std::string const& server, std::string const& uri) {
    return uri.starts_with(kUi) ? std::string(kUi) + server + "/" + uri.substr(kUi.size()) : uri;
}

std::string upstream_uri(std::string const& server, std::string const& uri) {
    auto const head = std::string(kUi) + server + "/";
    return uri.starts_with(head) ? std::string(kUi) + uri.substr(head.size()) : uri;
}

}  // namespace servers
