#include "client_headers.hpp"

#include <base/hash.hpp>

#include <algorithm>

namespace mcp {
namespace {

constexpr int kMaxSchemaDepth = 64;

bool token(std::string_view text) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";  // RFC 9110, 5.6.2
    return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [marks](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               marks.find(c) != marks.npos;
    });
}

std::string lowered(std::string text) {
    for (auto& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
}

struct Annotations {
    std::vector<std::string> path;
    std::vector<HeaderParam> found;
    std::set<std::string> names;
    std::string fault;  ///< the first one; empty = none

    /// `reachable`: by properties alone, from the root. Elsewhere an annotation is a fault.
    void look(Json const& schema, bool reachable, bool property, int depth) {
        if (!fault.empty() || depth > kMaxSchemaDepth) return;
        if (schema.is_array()) {
            for (auto const& entry : schema) look(entry, false, false, depth + 1);
            return;
        }
        if (!schema.is_object()) return;
        if (auto const it = schema.find("x-mcp-header"); it != schema.end())
            take(*it, schema, reachable && property);
        for (auto const& [key, value] : schema.items()) {
            if (key == "properties" && value.is_object()) {
                for (auto const& [name, inner] : value.items()) {
                    path.push_back(name);
                    look(inner, reachable, true, depth + 1);
                    path.pop_back();
                }
            } else if (key != "const" && key != "enum" && key != "default" && key != "examples" &&
                       key != "x-mcp-header") {
                look(value, false, false, depth + 1);
            }
        }
    }

    void take(Json const& annotation, Json const& schema, bool reachable) {
        auto const where = '"' + (path.empty() ? std::string() : path.back()) + '"';
        auto const type = schema.value("type", Json(nullptr));
        if (!annotation.is_string() || !token(annotation.get_ref<std::string const&>())) {
            fault = "the x-mcp-header of " + where + " is no field name";
        } else if (!reachable) {
            fault = "the x-mcp-header of " + where + " is not on a plain property";
        } else if (type != "string" && type != "integer" && type != "boolean") {
            fault =
                "the x-mcp-header of " + where + " is on a property that is no string, integer or boolean";
        } else if (!names.insert(lowered(annotation.get<std::string>())).second) {
            fault = "two properties have the same x-mcp-header, " + annotation.get<std::string>();
        } else {
            found.push_back({path, "Mcp-Param-" + annotation.get<std::string>()});
        }
    }
};

}  // namespace

char const* name_member(std::string_view method) {
    if (method == "tools/call" || method == "prompts/get") return "name";
    if (method == "resources/read") return "uri";
    if (method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel") return "taskId";
    return nullptr;
}

base::Result<std::vector<HeaderParam>> header_params_of(Json const& tool_definition) {
    Annotations annotations;
    if (auto const schema = tool_definition.find("inputSchema"); schema != tool_definition.end())
        annotations.look(*schema, true, false, 0);
    if (!annotations.fault.empty()) return base::error(base::errc::invalid, annotations.fault);
    return std::move(annotations.found);
}

std::string field_value(std::string const& text) {
    constexpr std::string_view open = "=?base64?", close = "?=";
    auto const visible = [](char c) { return c >= 0x20 && c < 0x7f; };
    bool const padded = !text.empty() && (text.front() == ' ' || text.back() == ' ');
    bool const sentinel = text.starts_with(open) && text.ends_with(close);
    if (!padded && !sentinel && std::all_of(text.begin(), text.end(), visible)) return text;
    return std::string(open) + base::base64_encode(text) + std::string(close);
}

std::vector<std::pair<std::string, std::string>> header_values(std::vector<HeaderParam> const& params,
                                                               Json const& arguments) {
    std::vector<std::pair<std::string, std::string>> out;
    for (auto const& param : params) {
        Json const* at = &arguments;
        for (auto const& step : param.path) {
            auto const it = at->is_object() ? at->find(step) : at->end();
            at = at->is_object() && it != at->end() ? &*it : nullptr;
            if (!at) break;
        }
        if (!at || at->is_null()) continue;
        if (at->is_string()) {
            out.emplace_back(param.header, field_value(at->get_ref<std::string const&>()));
        } else if (at->is_boolean()) {
            out.emplace_back(param.header, at->get<bool>() ? "true" : "false");
        } else if (at->is_number_integer()) {
            out.emplace_back(param.header, base::dump(*at));
        }
    }
    return out;
}

}  // namespace mcp
