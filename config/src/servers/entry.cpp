#include "entry.hpp"

#include "../distance.hpp"
#include "../keys.hpp"
#include <base/hash.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace config::servers_json {
namespace {

constexpr std::size_t kMaxText = 64 * 1024;
constexpr std::size_t kMaxEntries = 1000;

char const* name_of(JsonNode::Kind kind) {
    switch (kind) {
        case JsonNode::Kind::null:
            return "null";
        case JsonNode::Kind::boolean:
            return "true or false";
        case JsonNode::Kind::number:
            return "a number";
        case JsonNode::Kind::string:
            return "a string";
        case JsonNode::Kind::array:
            return "a list";
        case JsonNode::Kind::object:
            return "an object";
    }
    return "";
}

std::string upper(std::string text) {
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

/// As keys and tokens are made, and few words.
bool like_token(std::string_view text) {
    bool letter = false, digit = false;
    for (char const c : text) {
        if (c == ' ' || c == '/' || c == ',') return false;
        letter |= std::isalpha(static_cast<unsigned char>(c)) != 0;
        digit |= std::isdigit(static_cast<unsigned char>(c)) != 0;
    }
    return text.size() >= 16 && letter && digit;
}

/// An address that is a key itself, by a part of its path or its query.
bool keyed_address(std::string_view after_scheme) {
    for (auto at = after_scheme.find_first_of("/?"); at < after_scheme.size();) {
        auto const end = std::min(after_scheme.find_first_of("/?&=#", at + 1), after_scheme.size());
        if (like_token(after_scheme.substr(at + 1, end - at - 1))) return true;
        at = end;
    }
    return false;
}

/// Whether a value has to be taken out of what a server sends: not everything in an environment is secret,
/// and hiding
/// "/workspace" in each answer would make them useless.
bool looks_sensitive(std::string const& name, std::string const& value, bool from_outside) {
    if (value.size() < 8) return false;
    auto const big = upper(name);
    for (auto const* word :
         {"KEY", "TOKEN", "SECRET", "PASS", "AUTH", "CREDENTIAL", "COOKIE", "DSN", "CONNECTION_STRING"})
        if (big.find(word) != big.npos) return true;
    auto const at = value.find("://");
    if (at != value.npos && value.find('@', at) != value.npos) return true;  // scheme://user:password@host
    if (value[0] == '/') return false;
    if (at != value.npos) return from_outside && keyed_address(std::string_view(value).substr(at + 3));
    return from_outside || like_token(value);
}

std::string nearest_key(std::string const& key) {
    std::string best;
    std::size_t least = std::string::npos;
    for (auto const& known : entry_keys())
        if (auto const d = distance(key, known.name); d < least) least = d, best = known.name;
    return best;
}

EntryKey const* find_key(std::string const& name) {
    for (auto const& key : entry_keys())
        if (key.name == name || std::find(key.aliases.begin(), key.aliases.end(), name) != key.aliases.end())
            return &key;
    return nullptr;
}

bool is_group(std::string const& name) {
    return name == "sandbox" || name == "sandbox.filesystem" || name == "sandbox.network" ||
           name == "auth";
}

void read_group(EntryReader& r, JsonNode const& node, std::string const& prefix) {
    for (auto const& member : node.members) {
        if (r.failed()) return;
        auto const path = prefix.empty() ? member.key : prefix + "." + member.key;
        auto const* key = find_key(path);
        bool const both =
            (path == "tools" || path == "oauth") && member.value.is(JsonNode::Kind::object);  // or a short form
        if (both || is_group(path)) {
            if (!member.value.is(JsonNode::Kind::object)) {
                r.mistake(member.line, path, "expected an object");
            } else {
                read_group(r, member.value, path);
            }
        } else if (key) {
            key->read(r, member.value, path);
        } else if (prefix.starts_with("sandbox")) {
            // A misspelled restriction must not be one that is quietly missing.
            r.mistake(member.line, path, "there is no such key; the nearest is " + nearest_key(path));
        } else {
            r.note(member.line, "the key " + path.substr(0, 100) + " is not known here and was passed over");
        }
    }
}

void check_login(EntryReader& r, JsonNode const& node) {
    auto const& e = r.entry;
    auto const& o = e.oauth;
    auto const* at = node.find("oauth");
    int const line = at ? at->line : node.line;
    if (e.kind == ServerEntry::Kind::stdio) {
        if (at) r.note(line, "oauth has no meaning for a command and was passed over");
        return;
    }
    if (o.client_credentials && (o.client_id.empty() || o.client_secret.value.reveal().empty()))
        r.mistake(line, "oauth.grant", "expected clientId and clientSecret beside client_credentials");
    // Else the server's own metadata would say who is shown the secret.
    if (!o.client_secret.value.reveal().empty() && o.issuer.empty())
        r.mistake(line, "oauth.clientSecret",
                  "expected oauth.issuer beside it, the one authorization server that is shown the secret: for example "
                  "\"issuer\": \"https://login.example.com\"");
    if (!o.client_metadata_url.empty() && !o.client_metadata_url.starts_with("https://"))
        r.mistake(line, "oauth.clientMetadataUrl", "expected an address that begins with https://");
    if (at && at->is(JsonNode::Kind::object) && o.enabled && !e.may_log_in())
        r.note(line, "oauth is not used, because the entry has an Authorization header");
}

/// Restrictions that cannot be kept are mistakes, and so are two keys that contradict each other.
void check_together(EntryReader& r, JsonNode const& node) {
    auto& e = r.entry;
    bool const remote = e.kind != ServerEntry::Kind::stdio;
    auto const wrong = [&](char const* key, std::string const& expected) {
        auto const* at = node.find(key);
        r.mistake(at ? at->line : node.line, key, expected);
    };
    if (!r.kind_said && !e.url.empty()) {
        e.kind = ServerEntry::Kind::http;
        e.sse_fallback = true;
    } else if (remote && e.url.empty()) {
        return wrong("url", "expected the server's address");
    } else if (!remote && r.kind_said && e.command.empty()) {
        return wrong("command", "expected the program to start");
    }
    if (e.command.empty() && e.url.empty()) return wrong("command", "expected a command to start, or a url");
    if (!e.command.empty() && !e.url.empty()) return wrong("url", "expected either command or url, not both");
    if (e.kind == ServerEntry::Kind::stdio && !e.headers.empty())
        r.note(node.line, "headers have no meaning for a command and were passed over");
    if (e.kind != ServerEntry::Kind::stdio) {
        if (!e.url.starts_with("http://") && !e.url.starts_with("https://"))
            return wrong("url", "expected an address that begins with https:// or http://");
        if (!r.bearer_variable.empty()) {
            auto const token = r.scope.variables.environment(r.bearer_variable);
            if (!token)
                return r.mistake(
                    node.line, "bearerTokenEnvVar",
                    "expected the environment variable " + r.bearer_variable + " to be set where berth runs");
            e.headers["Authorization"] = {base::Secret("Bearer " + *token), true};
        }
    }
    check_login(r, node);
    check_refused(r);
    bool const boxed = !remote && e.isolation == ServerEntry::Isolation::sandbox;
    if (e.hibernate && !boxed) r.note(node.line, "idle: hibernate needs a sandbox and was passed over");
    // Within another, it could be replaced by whoever may write that one, and is visible there anyway.
    for (auto const* inner : {&e.sandbox.allow_read, &e.sandbox.allow_write})
        for (auto const* outer : {&e.sandbox.allow_read, &e.sandbox.allow_write})
            for (auto const& path : *inner)
                for (auto const& around : *outer)
                    if (path.starts_with(around + "/"))
                        return r.mistake(node.line, "sandbox.filesystem",
                                         "expected no path within another one that is allowed: " + path +
                                             " is within " + around);
    for (auto const& path : e.sandbox.allow_read)
        if (std::find(e.sandbox.allow_write.begin(), e.sandbox.allow_write.end(), path) !=
            e.sandbox.allow_write.end())
            return r.mistake(node.line, "sandbox.filesystem.allowRead",
                             "expected no path that allowWrite names too: " + path);
}

/// Everything that makes the running server another one.
std::string fingerprint_of(ServerEntry const& e) {
    base::Json j;
    j["kind"] = static_cast<int>(e.kind);
    j["sse"] = e.sse_fallback;
    j["command"] = e.command;
    j["args"] = e.args;
    for (auto const& [name, value] : e.env) j["env"][name] = base::sha256_hex(value.value.reveal());
    j["cwd"] = e.cwd;
    j["url"] = e.url;
    for (auto const& [name, value] : e.headers) j["headers"][name] = base::sha256_hex(value.value.reveal());
    auto const& o = e.oauth;
    if (e.kind != ServerEntry::Kind::stdio)
        j["oauth"] = {{"enabled", o.enabled},
                      {"grant", o.client_credentials},
                      {"id", o.client_id},
                      {"secret", base::sha256_hex(o.client_secret.value.reveal())},
                      {"issuer", o.issuer},
                      {"metadata", o.client_metadata_url},
                      {"scopes", o.scopes}};
    j["isolation"] = static_cast<int>(e.isolation);
    auto const& s = e.sandbox;
    j["sandbox"] = {{"read", s.allow_read},
                    {"write", s.allow_write},
                    {"domains", s.allowed_domains},
                    {"workspace", s.workspace},
                    {"template", s.template_name},
                    {"memory", s.memory_bytes},
                    {"disk", s.disk_bytes},
                    {"cpus", s.cpus},
                    {"pids", s.pids}};
    return base::sha256_hex(base::dump(j));
}

}  // namespace

void EntryReader::mistake(int line, std::string const& key, std::string const& expected) {
    if (failed()) return;
    entry.problem =
        on_one_line(file_ + ":" + std::to_string(line) + ": " + entry.name + "." + key + ": " + expected);
}

void EntryReader::note(int line, std::string const& text) {
    entry.notes.push_back(on_one_line(file_ + ":" + std::to_string(line) + ": " + text));
}

std::string EntryReader::text(JsonNode const& node, std::string const& key) {
    if (!node.is(JsonNode::Kind::string)) {
        mistake(node.line, key, std::string("expected a string, not ") + name_of(node.kind));
        return {};
    }
    auto const expanded = expand(node.text, scope);
    if (!expanded.problem.empty()) {
        mistake(node.line, key, "expected " + expanded.problem);
        return {};
    }
    if (expanded.text.size() > kMaxText || expanded.text.find('\0') != expanded.text.npos) {
        mistake(node.line, key, "expected at most 64 KiB without a NUL");
        return {};
    }
    // What only berth reads never reaches the server, and paths and hosts that it may use stand in its answers.
    if (!key.starts_with("sandbox.") && !key.starts_with("tools"))
        for (auto const& [name, value] : expanded.values)
            entry.outside[name] = {base::Secret(value), looks_sensitive(name, value, true)};
    return expanded.text;
}

HiddenValue EntryReader::hidden(JsonNode const& node, std::string const& key, std::string const& name) {
    HiddenValue out;
    std::string value;
    bool outside = false;
    if (node.is(JsonNode::Kind::string)) {
        outside = expand(node.text, scope).from_outside;
        value = text(node, key);
    } else if (node.is(JsonNode::Kind::number)) {  // "PORT": 8080
        value = node.text;
    } else if (node.is(JsonNode::Kind::boolean)) {
        value = node.flag ? "true" : "false";
    } else {
        mistake(node.line, key, std::string("expected a string, not ") + name_of(node.kind));
    }
    out.sensitive = looks_sensitive(name, value, outside);
    out.value = base::Secret(std::move(value));
    return out;
}

bool EntryReader::flag(JsonNode const& node, std::string const& key) {
    if (!node.is(JsonNode::Kind::boolean)) mistake(node.line, key, "expected true or false");
    return node.flag;
}

std::int64_t EntryReader::whole(JsonNode const& node, std::string const& key, std::int64_t min,
                                std::int64_t max) {
    if (!node.is(JsonNode::Kind::number) || node.number != std::floor(node.number) ||
        node.number < static_cast<double>(min) || node.number > static_cast<double>(max)) {
        mistake(node.line, key,
                "expected a whole number from " + std::to_string(min) + " to " + std::to_string(max));
        return min;
    }
    return static_cast<std::int64_t>(node.number);
}

double EntryReader::fraction(JsonNode const& node, std::string const& key, double min, double max) {
    if (!node.is(JsonNode::Kind::number) || !(node.number >= min && node.number <= max)) {
        mistake(node.line, key, "expected a number from " + base::dump(min) + " to " + base::dump(max));
        return min;
    }
    return node.number;
}

std::vector<std::string> EntryReader::texts(JsonNode const& node, std::string const& key) {
    std::vector<std::string> out;
    if (!node.is(JsonNode::Kind::array) || node.items.size() > kMaxEntries) {
        mistake(node.line, key, "expected a list of at most 1000 strings");
        return out;
    }
    for (auto const& item : node.items) out.push_back(text(item, key));
    return out;
}

std::map<std::string, std::string> EntryReader::text_map(JsonNode const& node, std::string const& key) {
    std::map<std::string, std::string> out;
    if (!node.is(JsonNode::Kind::object) || node.members.size() > kMaxEntries) {
        mistake(node.line, key, "expected an object of strings");
        return out;
    }
    for (auto const& member : node.members) out[member.key] = text(member.value, key + "." + member.key);
    return out;
}

void read_entry(EntryReader& r, JsonNode const& node) {
    if (!node.is(JsonNode::Kind::object)) return r.mistake(node.line, "", "expected an object");
    // What changes how other keys are read comes first, wherever it stands.
    for (auto const* first : {"dialect", "type", "transport"})
        if (auto const* value = node.find(first))
            if (auto const* key = find_key(first)) key->read(r, *value, first);
    read_group(r, node, "");
    if (!r.failed()) check_together(r, node);
    r.entry.fingerprint = fingerprint_of(r.entry);
}

}  // namespace config::servers_json

bool config::ServerEntry::may_log_in() const {
    auto const own = [](auto const& header) {
        auto const& key = header.first;
        constexpr std::string_view wanted = "authorization";
        return key.size() == wanted.size() &&
               std::equal(key.begin(), key.end(), wanted.begin(), [](char a, char b) {
                   return std::tolower(static_cast<unsigned char>(a)) == b;
               });
    };
    return kind != Kind::stdio && oauth.enabled && std::none_of(headers.begin(), headers.end(), own);
}
