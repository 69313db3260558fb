#include "tool_help.hpp"

#include "terminal.hpp"

#include <config/settings.hpp>

#include <algorithm>

namespace host {
namespace {

using base::Json;

constexpr std::size_t kMaxDepth = 4, kMaxRows = 200, kMaxSentence = 120, kMaxColumn = 36;

std::string text_of(Json const& object, char const* key) {
    if (!object.is_object()) return {};
    auto const it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return plain(text);
}

std::string first_sentence(std::string const& text) {
    auto sentence = one_line(text.substr(0, std::min(text.find(". "), text.find(".\n"))));
    if (sentence.size() > kMaxSentence) sentence = base::to_utf8(sentence.substr(0, kMaxSentence)) + "...";
    else if (sentence.ends_with('.')) sentence.pop_back();
    return sentence;
}

Json const& member(Json const& object, char const* key) {
    static Json const none;
    if (!object.is_object()) return none;
    auto const it = object.find(key);
    return it == object.end() ? none : *it;
}

std::string as_text(Json const& value) { return value.is_string() ? value.get<std::string>() : base::dump(value); }

std::string type_of(Json const& schema) {
    if (auto const& choices = member(schema, "enum"); choices.is_array() && !choices.empty()) {
        std::string out;
        for (auto const& choice : choices) out += (out.empty() ? "" : " | ") + as_text(choice);
        return out;
    }
    auto const& named = member(schema, "type");
    if (named.is_array()) {
        std::string out;
        for (auto const& one : named) out += (out.empty() ? "" : " or ") + as_text(one);
        return out;
    }
    auto type = named.is_string() ? named.get<std::string>() : std::string("any");
    if (type == "boolean") return "true | false";
    if (type == "array") {
        auto const items = text_of(member(schema, "items"), "type");
        return items.empty() ? "list" : "list of " + items + "s";
    }
    if (type == "object" && text_of(member(schema, "additionalProperties"), "type") == "string") return "object of strings";
    if (auto const &min = member(schema, "minimum"), &max = member(schema, "maximum"); min.is_number() || max.is_number())
        type += (min.is_number() ? " from " + config::show_number(min.get<double>()) : "") + (max.is_number() ? " to " + config::show_number(max.get<double>()) : "");
    return type;
}

bool is_required(Json const& schema, std::string const& name) {
    auto const& required = member(schema, "required");
    return required.is_array() && std::find(required.begin(), required.end(), Json(name)) != required.end();
}

struct Row {
    std::string name, type, description;
};

void add_rows(Json const& schema, std::string const& prefix, std::size_t depth, std::vector<Row>& rows) {
    auto const& properties = member(schema, "properties");
    if (!properties.is_object() || depth == kMaxDepth) return;
    // What has to be given comes first.
    for (bool const required : {true, false})
        for (auto const& [name, property] : properties.items()) {
            if (is_required(schema, name) != required || rows.size() >= kMaxRows) continue;
            auto type = type_of(property);
            if (required) type += ", required";
            rows.push_back({one_line(prefix + name), one_line(std::move(type)), one_line(text_of(property, "description"))});
            add_rows(property, prefix + name + ".", depth + 1, rows);
        }
}

std::string in_columns(std::vector<Row> const& rows) {
    std::size_t names = 0, types = 0;
    for (auto const& row : rows) {
        names = std::max(names, std::min(row.name.size(), kMaxColumn));
        types = std::max(types, std::min(row.type.size(), kMaxColumn));
    }
    std::string out;
    for (auto const& row : rows) {
        auto line = "  " + padded(row.name, names) + "  " + padded(row.type, types) + "  " + row.description;
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

/// What has to be given, with something of the right type.
Json least(Json const& schema) {
    Json out = Json::object();
    auto const& properties = member(schema, "properties");
    if (!properties.is_object()) return out;
    for (auto const& [name, property] : properties.items()) {
        if (!is_required(schema, name)) continue;
        auto const type = text_of(property, "type");
        auto const& choices = member(property, "enum");
        if (choices.is_array() && !choices.empty()) out[name] = choices.front();
        else if (type == "integer" || type == "number") out[name] = member(property, "minimum").is_number() ? member(property, "minimum") : Json(1);
        else if (type == "boolean") out[name] = true;
        else if (type == "array") out[name] = Json::array();
        else if (type == "object") out[name] = Json::object();
        else out[name] = "...";
    }
    return out;
}

}  // namespace

std::string tool_lines(std::vector<Json> const& tools) {
    std::size_t width = 0;
    for (auto const& tool : tools) width = std::max(width, std::min(text_of(tool, "name").size(), kMaxColumn));
    std::string out;
    for (auto const& tool : tools)
        out += padded(one_line(text_of(tool, "name")), width) + "  " + first_sentence(text_of(tool, "description")) + "\n";
    return out;
}

std::string tool_help(Json const& tool) {
    auto const name = one_line(text_of(tool, "name"));
    auto out = name + "\n\n" + plain_lines(text_of(tool, "description")) + "\n\n";
    auto const& schema = member(tool, "inputSchema");
    std::vector<Row> rows;
    add_rows(schema, "", 0, rows);
    out += rows.empty() ? "It takes no arguments.\n" : in_columns(rows);
    auto const call = base::dump(least(schema));
    return out + "\n  berth tool " + name + (call == "{}" ? "" : " '" + plain(call) + "'") + "\n";
}

}  // namespace host
