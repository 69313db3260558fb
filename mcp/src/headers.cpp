#include "headers.hpp"

#include <base/hash.hpp>

#include <charconv>
#include <cmath>

namespace mcp {
namespace {

constexpr std::string_view kBase64Open = "=?base64?", kBase64Close = "?=";

std::string_view trimmed(std::string_view text) {
    auto const space = [](char c) { return c == ' ' || c == '\t'; };
    while (!text.empty() && space(text.front())) text.remove_prefix(1);
    while (!text.empty() && space(text.back())) text.remove_suffix(1);
    return text;
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (auto& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

bool is_token(std::string_view text) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";  // RFC 9110, 5.6.2
    return !text.empty() && std::all_of(text.begin(), text.end(), [marks](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               marks.find(c) != marks.npos;
    });
}

struct Mismatch {
    std::string why;
};

/// The one value of a field, or nothing when it is absent; throws Mismatch for several or for bytes that no
/// field has.
std::optional<std::string_view> value_of(http::Request const& request, std::string const& name) {
    auto const count = request.fields.count(name);
    if (count == 0) return std::nullopt;
    if (count > 1) throw Mismatch{name + " is given more than once"};
    auto const raw = request.fields[name];
    auto const value = trimmed(std::string_view(raw.data(), raw.size()));
    for (char const c : value)
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || static_cast<unsigned char>(c) > 0x7e)
            throw Mismatch{name + " has characters that a header may not have"};
    return value;
}

std::string decoded(std::string_view value, std::string const& name) {
    if (value.size() < kBase64Open.size() + kBase64Close.size() || !value.starts_with(kBase64Open) ||
        !value.ends_with(kBase64Close))
        return std::string(value);
    value.remove_prefix(kBase64Open.size());
    value.remove_suffix(kBase64Close.size());
    std::string out;
    if (!base::base64_decode(value, out) || !base::valid_utf8(out))
        throw Mismatch{name + " has broken base64"};
    return out;
}

void require_equal(http::Request const& request, std::string const& name, std::string const& expected,
                   bool encoded) {
    auto const value = value_of(request, name);
    if (!value) throw Mismatch{name + " is missing"};
    if ((encoded ? decoded(*value, name) : std::string(*value)) != expected)
        throw Mismatch{name + " differs from the body"};
}

/// The argument at the path; null when it is absent.
Json const& argument_at(Json const& arguments, std::vector<std::string> const& path) {
    static Json const none;
    Json const* at = &arguments;
    for (auto const& step : path) {
        if (!at->is_object()) return none;
        auto const it = at->find(step);
        if (it == at->end()) return none;
        at = &*it;
    }
    return *at;
}

bool same(Json const& argument, std::string const& value) {
    if (argument.is_string()) return argument.get_ref<std::string const&>() == value;
    if (argument.is_boolean()) return value == (argument.get<bool>() ? "true" : "false");
    if (argument.is_number()) {
        double number = 0;
        auto const [end, ec] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (ec != std::errc{} || end != value.data() + value.size()) return false;
        if (argument.is_number_integer() && base::dump(argument) == value) return true;
        return number == argument.get<double>() && std::abs(number) <= 9007199254740992.0;
    }
    return false;
}

void check_params(http::Request const& request, Json const& arguments,
                  std::vector<HeaderParam> const& params) {
    for (auto const& param : params) {
        auto const& argument = argument_at(arguments, param.path);
        auto const value = value_of(request, param.header);
        if (argument.is_null()) {
            if (value) throw Mismatch{param.header + " has no value in the body"};
            continue;
        }
        if (!argument.is_primitive()) continue;  // the tool refuses it by its schema
        if (!value) throw Mismatch{param.header + " is missing"};
        if (!same(argument, decoded(*value, param.header)))
            throw Mismatch{param.header + " differs from the body"};
    }
}

char const* name_param(std::string_view method) {
    if (method == "tools/call" || method == "prompts/get") return "name";
    if (method == "resources/read") return "uri";
    if (method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel") return "taskId";
    return nullptr;
}

void find_in(Json const& schema, std::vector<std::string>& path, std::vector<HeaderParam>& out) {
    auto const properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object() || path.size() >= 16) return;
    for (auto const& [name, property] : properties->items()) {
        if (!property.is_object()) continue;
        path.push_back(name);
        if (auto const it = property.find("x-mcp-header"); it != property.end() && it->is_string()) {
            auto const type = property.value("type", Json(nullptr));
            if ((type == "string" || type == "integer" || type == "boolean") &&
                is_token(it->get_ref<std::string const&>()))
                out.push_back({path, "Mcp-Param-" + it->get<std::string>()});
        }
        find_in(property, path, out);
        path.pop_back();
    }
}

}  // namespace

std::vector<HeaderParam> find_header_params(Json const& tool_definition) {
    std::vector<HeaderParam> out;
    std::vector<std::string> path;
    if (auto const schema = tool_definition.find("inputSchema");
        schema != tool_definition.end() && schema->is_object())
        find_in(*schema, path, out);
    std::set<std::string> seen;
    for (auto const& param : out)
        if (!seen.insert(lower(param.header)).second) return {};
    return out;
}

std::optional<RpcError> check_headers(http::Request const& request, Message const& message,
                                      std::string const& version, Endpoint const& endpoint,
                                      Caller const& caller) {
    try {
        require_equal(request, "MCP-Protocol-Version", version, false);
        require_equal(request, "Mcp-Method", message.method, false);
        if (auto const* member = name_param(message.method)) {
            auto const it = message.params.find(member);
            // Without it in the body the method itself answers -32602.
            if (it != message.params.end() && it->is_string())
                require_equal(request, "Mcp-Name", it->get<std::string>(), true);
        }
        if (message.method == "tools/call") {
            auto const name = message.params.find("name");
            auto const tool = name != message.params.end() && name->is_string()
                                   ? endpoint.find_tool(name->get_ref<std::string const&>(), caller)
                                   : std::shared_ptr<Tool const>();
            if (tool)
                check_params(request, message.params.value("arguments", Json::object()),
                             endpoint.header_params(*tool));
        }
    } catch (Mismatch const& mismatch) {
        return RpcError{code::header_mismatch, "Header mismatch: " + mismatch.why, nullptr};
    }
    return std::nullopt;
}

bool accepts(std::string_view accept, std::string_view type) {
    if (trimmed(accept).empty()) return true;
    auto const family = std::string(type.substr(0, type.find('/'))) + "/*";
    while (!accept.empty()) {
        auto const comma = accept.find(',');
        auto const entry = accept.substr(0, comma);
        auto const range = lower(trimmed(entry.substr(0, entry.find(';'))));
        if (range == type || range == family || range == "*/*") return true;
        accept = comma == accept.npos ? std::string_view{} : accept.substr(comma + 1);
    }
    return false;
}

bool is_json(std::string_view content_type) {
    return lower(trimmed(content_type.substr(0, content_type.find(';')))) == "application/json";
}

std::set<std::string> toolsets_from(std::string_view query) {
    std::set<std::string> out;
    while (!query.empty()) {
        auto const amp = query.find('&');
        auto pair = query.substr(0, amp);
        query = amp == query.npos ? std::string_view{} : query.substr(amp + 1);
        if (!pair.starts_with("toolsets=")) continue;
        pair.remove_prefix(9);
        std::string value(pair);
        for (auto at = value.find('%'); at != value.npos; at = value.find('%', at + 1)) {
            unsigned byte = 0;
            auto const* first = value.data() + at + 1;
            if (at + 3 > value.size() || std::from_chars(first, first + 2, byte, 16).ptr != first + 2) break;
            value.replace(at, 3, 1, static_cast<char>(byte));
        }
        std::string_view rest = value;
        while (!rest.empty()) {
            auto const comma = rest.find(',');
            if (comma != 0) out.emplace(rest.substr(0, comma));
            rest = comma == rest.npos ? std::string_view{} : rest.substr(comma + 1);
        }
    }
    return out;
}

}  // namespace mcp
