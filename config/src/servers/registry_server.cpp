#include <base/json.hpp>
#include <config/registry_server.hpp>

#include <algorithm>
#include <cctype>

namespace config {
namespace {

using base::Json;

constexpr std::size_t kMaxServerName = 48, kMaxParts = 100;

std::string text_in(Json const& object, char const* key) {
    auto const it = object.is_object() ? object.find(key) : object.end();
    return object.is_object() && it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool flag_in(Json const& object, char const* key) {
    return object.is_object() && object.value(key, Json(false)) == Json(true);
}

Json list_in(Json const& object, char const* key) {
    auto const it = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || it == object.end() || !it->is_array()) return Json::array();
    if (it->size() <= kMaxParts) return *it;
    return Json(it->begin(), it->begin() + static_cast<std::ptrdiff_t>(kMaxParts));
}

/// A publisher's text means nothing to us but itself.
std::string literal(std::string const& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) out += text.compare(i, 2, "${") == 0 ? "$$" : std::string(1, text[i]);
    return out;
}

/// "api-key" as a variable: API_KEY.
std::string variable_for(std::string const& name) {
    std::string out;
    for (char const c : name.substr(0, 64)) {
        bool const fits = std::isalnum(static_cast<unsigned char>(c)) != 0;
        if (fits || (!out.empty() && out.back() != '_'))
            out += fits ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
    }
    while (out.ends_with('_')) out.pop_back();
    return out.empty() || std::isdigit(static_cast<unsigned char>(out[0])) ? "VALUE_" + out : out;
}

/// What stands for one input: its value with {variables}, else its default, else the operator's variable. "" and false:
/// it may be left out.
std::pair<std::string, bool> input(Json const& given, std::string const& name) {
    auto const value = text_in(given, "value");
    if (!value.empty()) {
        auto const variables = given.value("variables", Json::object());
        std::string out;
        for (std::size_t at = 0; at < value.size();) {
            auto const open = value.find('{', at);
            auto const close = open == value.npos ? value.npos : value.find('}', open);
            auto const inner = close == value.npos ? std::string() : value.substr(open + 1, close - open - 1);
            bool const known = variables.is_object() && variables.contains(inner);
            auto const end = close == value.npos ? value.size() : known ? open : open + 1;
            out += literal(value.substr(at, end - at));
            at = end;
            if (!known) continue;
            out += input(variables[inner], inner).first;
            at = close + 1;
        }
        return {out, true};
    }
    auto const otherwise = text_in(given, "default");
    auto const variable = variable_for(name);
    bool const simple = otherwise.find_first_of("${}") == otherwise.npos;
    if (!otherwise.empty()) return {simple ? "${" + variable + ":-" + otherwise + "}" : literal(otherwise), true};
    if (flag_in(given, "isRequired")) return {"${" + variable + "}", true};
    return {"", false};
}

void put_arguments(Json& args, Json const& given) {
    for (auto const& argument : given) {
        bool const named = text_in(argument, "type") == "named";
        auto const name = text_in(argument, "name");
        auto const hint = text_in(argument, "valueHint");
        auto const [value, there] = input(argument, named ? name : hint.empty() ? "ARGUMENT" : hint);
        bool const bare = named && !there && argument.is_object() && !argument.contains("default") &&
                          !argument.contains("value") && !argument.contains("format");
        if (named && (there || bare)) args.push_back(literal(name));
        if (there) args.push_back(value);
    }
}

/// Exactly one release: digits first, and nothing that a package manager reads as a choice.
bool exact(std::string const& version, bool semantic) {
    auto const core = version.substr(0, version.find_first_of("-+"));
    auto const dots = std::count(core.begin(), core.end(), '.');
    auto const good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::string_view(".-+_!").find(c) != std::string_view::npos; };
    if (version.empty() || version.size() > 100 || !std::isdigit(static_cast<unsigned char>(version[0]))) return false;
    if (!std::all_of(version.begin(), version.end(), good)) return false;
    auto const digit_or_dot = [](char c) { return c == '.' || std::isdigit(static_cast<unsigned char>(c)); };
    return !semantic || (dots == 2 && std::all_of(core.begin(), core.end(), digit_or_dot));
}

bool package_name(std::string const& name) {
    auto const good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("@/._~-").find(c) != std::string_view::npos; };
    return !name.empty() && name.size() <= 214 && std::all_of(name.begin(), name.end(), good) &&
           (name[0] == '@' || std::isalnum(static_cast<unsigned char>(name[0]))) && name.find("..") == name.npos &&
           name.find('@', 1) == name.npos;
}

/// The entry, or why there is none.
base::Result<Json> entry_of_package(Json const& package) {
    auto const no = [](std::string why) { return base::error(base::errc::invalid, std::move(why)); };
    auto const type = text_in(package, "registryType");
    auto const identifier = text_in(package, "identifier"), version = text_in(package, "version");
    bool const npm = type == "npm";
    if (!npm && type != "pypi") return no("packages of type \"" + type.substr(0, 40) + "\" are not started here");
    auto const transport = package.is_object() ? package.value("transport", Json::object()) : Json::object();
    if (text_in(transport, "type") != "stdio") return no("the package does not speak over stdio");
    auto const base_url = text_in(package, "registryBaseUrl");
    if (!base_url.empty() && base_url != (npm ? "https://registry.npmjs.org" : "https://pypi.org"))
        return no("the package is of another registry, " + base_url.substr(0, 200));
    if (!package_name(identifier)) return no("\"" + identifier.substr(0, 100) + "\" is no package's name");
    if (!exact(version, npm)) return no("\"" + version.substr(0, 60) + "\" is no exact version, and could be another one tomorrow");
    if (!text_in(package, "fileSha256").empty())
        return no("the package has a hash (fileSha256), which " + std::string(npm ? "npx" : "uvx") + " would not check");
    Json args = npm ? Json::array({"-y"}) : Json::array();
    put_arguments(args, list_in(package, "runtimeArguments"));
    args.push_back(identifier + "@" + version);
    put_arguments(args, list_in(package, "packageArguments"));
    Json entry{{"command", npm ? "npx" : "uvx"}, {"args", std::move(args)}};
    for (auto const& variable : list_in(package, "environmentVariables")) {
        auto const name = text_in(variable, "name");
        auto const [value, there] = input(variable, name);
        if (!name.empty() && there) entry["env"][name] = value;
    }
    entry["sandbox"]["network"]["allowedDomains"] =
        npm ? Json::array({"registry.npmjs.org"}) : Json::array({"pypi.org", "files.pythonhosted.org"});
    return entry;
}

base::Result<Json> entry_of_remote(Json const& remote) {
    auto const type = text_in(remote, "type");
    if (type != "streamable-http" && type != "sse")
        return base::error(base::errc::invalid, "its address is of the type \"" + type.substr(0, 40) + "\"");
    Json where{{"value", text_in(remote, "url")}, {"variables", remote.value("variables", Json::object())}};
    Json entry{{"type", type}, {"url", input(where, "url").first}};
    for (auto const& header : list_in(remote, "headers")) {
        auto const name = text_in(header, "name");
        auto const [value, there] = input(header, name);
        if (!name.empty() && there) entry["headers"][name] = value;
    }
    return entry;
}

/// "io.github.somebody/weather" is called weather here.
std::string short_name(std::string const& name) {
    std::string out;
    for (char const c : name.substr(name.rfind('/') + 1).substr(0, kMaxServerName))
        out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '-';
    return out;
}

}  // namespace

bool is_registry_server(std::string const& text) {
    auto const parsed = base::parse_json(text);
    return parsed && parsed->is_object() && parsed->contains("name") &&
           (parsed->contains("packages") || parsed->contains("remotes"));
}

base::Result<std::string> servers_of_registry(std::string const& text, std::string const& name) {
    auto const parsed = base::parse_json(text);
    if (!parsed || !parsed->is_object()) return base::error(base::errc::invalid, name + ": expected a JSON object");
    auto const called = short_name(text_in(*parsed, "name"));
    if (called.empty()) return base::error(base::errc::invalid, name + ": expected a server's name");
    base::Result<Json> entry = base::error(base::errc::invalid, "it names no package and no address");
    for (auto const& package : list_in(*parsed, "packages"))
        if (!entry) entry = entry_of_package(package);
    for (auto const& remote : list_in(*parsed, "remotes"))
        if (!entry) entry = entry_of_remote(remote);
    if (!entry) return base::wrap(entry.error(), name + ": " + called);
    Json whole;
    whole["mcpServers"][called] = std::move(*entry);
    return whole.dump(4) + "\n";
}

}  // namespace config
