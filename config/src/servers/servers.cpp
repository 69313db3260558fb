#include "entry.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace config {
namespace servers_json {
namespace {

constexpr std::size_t kMaxFile = 1 << 20, kMaxServers = 256, kMaxName = 48;

/// Letters, digits, dot, hyphen and underscore: it becomes part of tool names and of file names.
std::string check_server_name(std::string const& name) {
    auto const good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.' || c == ' ' || c == '@' || c == '/';
    };
    if (name.empty() || name.size() > kMaxName || !std::all_of(name.begin(), name.end(), good))
        return "a name of letters, digits, hyphen, underscore, dot, space, @ and /, at most 48 long";
    return {};
}

std::string at_line(std::string const& file, int line) { return file + ":" + std::to_string(line) + ": "; }

/// The object whose members are servers.
JsonNode const* servers_in(JsonNode const& root) {
    if (!root.is(JsonNode::Kind::object)) return nullptr;
    if (auto const* node = root.find("mcpServers")) return node;
    if (auto const* node = root.find("servers")) return node;
    if (auto const* node = root.find("mcp")) {  // opencode, and VS Code's settings.json
        if (auto const* inner = node->find("servers")) return inner;
        return node;
    }
    // A bare map: every member has to look like a server, so that another program's settings are not taken
    // for one.
    for (auto const& member : root.members) {
        if (member.key == "inputs" || member.key == "$schema") continue;
        if (!member.value.is(JsonNode::Kind::object) ||
            !(member.value.find("command") || member.value.find("url") || member.value.find("serverUrl") ||
              member.value.find("httpUrl")))
            return nullptr;
    }
    return &root;
}

/// What VS Code asks its user for: beside the servers in mcp.json, within "mcp" in settings.json.
std::vector<JsonNode const*> inputs_in(JsonNode const& root) {
    std::vector<JsonNode const*> out;
    auto const* inner = root.find("mcp");
    for (auto const* place : {&root, inner}) {
        auto const* inputs = place ? place->find("inputs") : nullptr;
        if (!inputs || !inputs->is(JsonNode::Kind::array)) continue;
        for (auto const& item : inputs->items)
            if (auto const* id = item.find("id"); id && id->is(JsonNode::Kind::string)) out.push_back(&item);
    }
    return out;
}

std::map<std::string, std::string> inputs_of(JsonNode const& root) {
    std::map<std::string, std::string> out;
    for (auto const* item : inputs_in(root)) {
        auto const* otherwise = item->find("default");
        out.try_emplace(item->find("id")->text, otherwise ? otherwise->text : "");
    }
    return out;
}

base::Result<JsonNode> outer(std::string const& text, std::string const& name) {
    auto root = parse_json_config(text, name);
    if (!root) return root.error();
    auto const* found = servers_in(*root);
    if (!found || !found->is(JsonNode::Kind::object))
        return base::error(
            base::errc::invalid,
            at_line(name, found ? found->line : 1) +
                R"(expected {"mcpServers": {"NAME": {"command": ...}}}, "servers", or the map alone)");
    return root;
}

}  // namespace
}  // namespace servers_json

base::Result<ServerFile> parse_servers(std::string const& text, std::string const& name,
                                       ServerVariables const& variables) {
    using namespace servers_json;
    auto const root = outer(text, name);
    if (!root) return root.error();
    auto const& map = *servers_in(*root);
    ServerFile out;
    out.path = name;
    if (map.members.size() > kMaxServers)
        return base::error(base::errc::invalid, at_line(name, map.line) + "expected at most 256 servers");
    std::set<std::string> files, names;  // asked for by the entry that is read
    ServerVariables seen;
    seen.file = [&](std::string const& path) {
        files.insert(path);
        return variables.file(path);
    };
    seen.environment = [&](std::string const& variable) {
        names.insert(variable);
        return variables.environment(variable);
    };
    Scope scope{seen, inputs_of(*root), false};
    for (auto const& member : map.members) {
        if (&map == &*root && (member.key == "inputs" || member.key == "$schema")) continue;
        ServerEntry entry;
        entry.name = member.key;
        entry.line = member.line;
        if (auto const problem = check_server_name(member.key); !problem.empty()) {
            entry.name = on_one_line(member.key.substr(0, kMaxName));
            entry.problem = on_one_line(at_line(name, member.line) + "expected " + problem);
        } else {
            auto const* dialect = member.value.find("dialect");
            scope.bare_names = dialect && dialect->text == "gemini";
            EntryReader reader(entry, scope, name);
            read_entry(reader, member.value);
        }
        entry.files.assign(files.begin(), files.end());
        entry.variables.assign(names.begin(), names.end());
        files.clear();
        names.clear();
        out.servers.push_back(std::move(entry));
    }
    return out;
}

base::Result<ServerFile> load_servers(std::string const& path, ServerVariables const& variables) {
    using base::errc;
    auto fd = base::sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    struct stat st {};
    if (!fd) {
        if (fd.error().code == boost::system::errc::too_many_symbolic_link_levels)
            return base::error(
                errc::denied,
                path + " is a link: give the file itself, so that nobody can point it elsewhere");
        if (fd.error().code == boost::system::errc::no_such_file_or_directory)
            return base::error(errc::not_found, "there is no " + path);
        return fd.error();
    }
    if (::fstat(fd->get(), &st) != 0) return base::errno_error("look at " + path);
    if (!S_ISREG(st.st_mode)) return base::error(errc::denied, path + " is no regular file");
    if (st.st_uid != 0 && st.st_uid != ::geteuid())
        return base::error(
            errc::denied,
            path + " belongs to another user: it decides what berth starts, so chown it to root");
    if (st.st_mode & 022)
        return base::error(
            errc::denied,
            path + " can be written by others: it decides what berth starts, so run chmod go-w on it");
    auto text = base::sys::read_all(fd->get(), servers_json::kMaxFile, "read " + path);
    if (!text) return text.error();
    return parse_servers(*text, path, variables);
}

base::Result<std::string> merge_servers(std::string const& text, std::string const& other,
                                        std::string const& other_name, std::vector<std::string>& taken,
                                        std::vector<std::string>& skipped,
                                        std::set<std::string> const& leave_out) {
    using namespace servers_json;
    std::string const base_text = text.empty() ? "{\n    \"mcpServers\": {}\n}\n" : text;
    auto const target = outer(base_text, "servers.json");
    if (!target) return target.error();
    auto const source = outer(other, other_name);
    if (!source) return source.error();
    auto const& into = *servers_in(*target);
    auto const& from = *servers_in(*source);
    auto const text_in = [](std::string const& whole, JsonNode const& node) {
        return whole.substr(node.begin, node.end - node.begin);
    };
    std::string added;
    for (auto const& member : from.members) {
        if (&from == &*source && (member.key == "inputs" || member.key == "$schema")) continue;
        if (leave_out.contains(member.key)) continue;
        if (into.find(member.key)) {
            skipped.push_back(member.key);
            continue;
        }
        added += (added.empty() ? "" : ",") + std::string("\n        ") + base::dump(base::Json(member.key)) +
                 ": " + text_in(other, member.value);
        taken.push_back(member.key);
    }
    if (added.empty()) return base_text;
    // What the entries refer to by ${input:ID} comes with them.
    auto const known = inputs_in(*target);
    std::string inputs;
    for (auto const* item : inputs_in(*source)) {
        auto const& id = item->find("id")->text;
        auto const same =
            std::find_if(known.begin(), known.end(), [&](auto const* one) { return one->find("id")->text == id; });
        if (same == known.end())
            inputs += (inputs.empty() ? "" : ",") + std::string("\n        ") + text_in(other, *item);
        else if (text_in(base_text, **same) != text_in(other, *item))
            skipped.push_back("the input " + id);
    }
    struct Edit {
        std::size_t at;
        std::string text;
    };
    auto const* list = target->find("inputs");
    Edit of_inputs{target->begin + 1, "\n    \"inputs\": [" + inputs + "\n    ],"};
    if (list && list->is(JsonNode::Kind::array))
        of_inputs = list->items.empty() ? Edit{list->begin + 1, inputs} : Edit{list->items.back().end, "," + inputs};
    // After the last value; a trailing comma, if there is one, then ends the new last.
    Edit of_servers = into.members.empty() ? Edit{into.begin + 1, added + "\n    "}
                                           : Edit{into.members.back().value.end, "," + added};
    if (inputs.empty() || (list && !list->is(JsonNode::Kind::array))) of_inputs.text.clear();
    auto out = base_text;
    // From the end on, so that the other place stays where it is; at one place the inputs come first.
    bool const inputs_later = of_inputs.at > of_servers.at;
    for (auto const* edit : {inputs_later ? &of_inputs : &of_servers, inputs_later ? &of_servers : &of_inputs})
        out.insert(edit->at, edit->text);
    return out;
}

std::vector<KnownServerKey> const& known_server_keys() {
    static std::vector<KnownServerKey> const all = [] {
        std::vector<KnownServerKey> out;
        for (auto const& key : servers_json::entry_keys()) {
            std::string aliases;
            for (auto const& alias : key.aliases) aliases += (aliases.empty() ? "`" : ", `") + alias + "`";
            out.push_back({key.name, aliases, key.unit, key.default_value, key.meaning});
        }
        return out;
    }();
    return all;
}

}  // namespace config
