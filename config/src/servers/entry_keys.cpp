#include "../keys.hpp"
#include "entry.hpp"
#include <base/files.hpp>
#include <config/minimums.hpp>

#include <algorithm>
#include <cmath>

// The table of keys: what docs/servers.md describes, in its order.
namespace config::servers_json {
namespace {

using Reader = std::function<void(EntryReader&, JsonNode const&, std::string const&)>;
using Kind = JsonNode::Kind;

constexpr std::int64_t kDay = 86'400'000;

template <class Field>
Reader milliseconds_key(std::int64_t min, std::int64_t max, Field field, std::int64_t unit = 1) {
    return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
        field(r.entry) = std::chrono::milliseconds(r.whole(node, key, min, max) * unit);
    };
}

/// The same key under a name whose unit is seconds.
template <class Field>
Reader with_seconds(std::vector<std::string> seconds, std::int64_t min, std::int64_t max, Field field) {
    return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
        bool const coarse = std::find(seconds.begin(), seconds.end(), key) != seconds.end();
        if (coarse)
            field(r.entry) = std::chrono::milliseconds(
                static_cast<std::int64_t>(1000 * r.fraction(node, key, static_cast<double>(min) / 1000,
                                                            static_cast<double>(max) / 1000)));
        else
            field(r.entry) = std::chrono::milliseconds(r.whole(node, key, min, max));
    };
}

/// The same, and that the key was there.
template <class Flag>
Reader said(Reader reader, Flag flag) {
    return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
        reader(r, node, key);
        flag(r.entry) = true;
    };
}

template <class Field>
Reader list_key(Field field) {
    return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
        auto values = r.texts(node, key);
        auto& target = field(r.entry);
        target.insert(target.end(), values.begin(), values.end());
    };
}

template <class Field>
Reader paths_key(Field field) {
    return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
        for (auto& path : r.texts(node, key)) {
            while (path.size() > 1 && path.ends_with('/')) path.pop_back();
            if (!path.starts_with('/') || path == "/" || (path + "/").find("/../") != path.npos)
                return r.mistake(
                    node.line, key,
                    "expected absolute paths without .., not / itself: \"" + path.substr(0, 100) + '"');
            field(r.entry).push_back(std::move(path));
        }
    };
}

void read_refused(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto texts = r.texts(node, key);
    for (std::size_t i = 0; i < texts.size(); ++i)
        r.refused.push_back({node.items[i].line, key, std::move(texts[i])});
}

void read_kind(EntryReader& r, JsonNode const& node, std::string const& key) {
    static std::map<std::string, ServerEntry::Kind> const kinds = {
        {"stdio", ServerEntry::Kind::stdio},         {"local", ServerEntry::Kind::stdio},
        {"http", ServerEntry::Kind::http},           {"streamable-http", ServerEntry::Kind::http},
        {"streamableHttp", ServerEntry::Kind::http}, {"sse", ServerEntry::Kind::sse}};
    auto const text = r.text(node, key);
    auto const it = kinds.find(text);
    if (it == kinds.end())
        return r.mistake(node.line, key,
                         "expected stdio, http, streamable-http or sse, not \"" + text.substr(0, 60) + '"');
    r.entry.kind = it->second;
    r.kind_said = true;
}

void read_command(EntryReader& r, JsonNode const& node, std::string const& key) {
    if (!node.is(Kind::array)) {
        r.entry.command = r.text(node, key);
        return;
    }
    auto words = r.texts(node, key);
    if (words.empty()) return r.mistake(node.line, key, "expected at least the program");
    r.entry.command = words.front();
    r.entry.args.insert(r.entry.args.begin(), words.begin() + 1, words.end());
}

bool environment_name(std::string const& name) {
    return !name.empty() && name.size() <= 256 && name.find('=') == name.npos && name.find('\0') == name.npos;
}

void read_env(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const put = [&](std::string const& name, JsonNode const& value) {
        if (!environment_name(name)) return r.mistake(value.line, key, "expected names without =");
        r.entry.env[name] = r.hidden(value, key + "." + name, name);
    };
    if (node.is(Kind::object)) {
        for (auto const& member : node.members) put(member.key, member.value);
    } else if (node.is(Kind::array)) {  // ["NAME=value"], as 1mcp has it
        for (auto const& item : node.items) {
            auto const equals = item.text.find('=');
            if (!item.is(Kind::string) || equals == item.text.npos)
                return r.mistake(item.line, key, "expected an object, or strings such as NAME=value");
            JsonNode value = item;
            value.text = item.text.substr(equals + 1);
            put(item.text.substr(0, equals), value);
        }
    } else {
        r.mistake(node.line, key, "expected an object of strings");
    }
}

void read_env_file(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const path = r.text(node, key);
    if (r.failed()) return;
    auto const text = r.scope.variables.file(path);
    if (!text)
        return r.mistake(node.line, key, "expected a file that can be read: " + text.error().message());
    std::size_t at = 0;
    while (at < text->size()) {
        auto const end = std::min(text->find('\n', at), text->size());
        auto line = text->substr(at, end - at);
        at = end + 1;
        while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
        if (line.starts_with("export ")) line.erase(0, 7);
        if (line.empty() || line[0] == '#') continue;
        auto const equals = line.find('=');
        if (equals == line.npos)
            return r.mistake(node.line, key, "expected lines such as NAME=value in " + path);
        auto value = line.substr(equals + 1);
        if (value.size() >= 2 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0])
            value = value.substr(1, value.size() - 2);
        // What "env" says wins, wherever it stands.
        r.entry.env.try_emplace(line.substr(0, equals), HiddenValue{base::Secret(value), value.size() >= 8});
    }
}

void read_headers(EntryReader& r, JsonNode const& node, std::string const& key) {
    bool const names_of_variables = key == "envHttpHeaders" || key == "env_http_headers";
    if (!node.is(Kind::object)) return r.mistake(node.line, key, "expected an object of strings");
    for (auto const& member : node.members) {
        auto const token = [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
        };
        if (member.key.empty() || !std::all_of(member.key.begin(), member.key.end(), token))
            return r.mistake(member.line, key, "expected header names of letters, digits and hyphens");
        auto value = r.hidden(member.value, key + "." + member.key, member.key);
        if (names_of_variables) {
            auto const found = r.scope.variables.environment(value.value.reveal());
            if (!found)
                return r.mistake(member.line, key,
                                 "expected the environment variable " + value.value.reveal() +
                                     " to be set where berth runs");
            value = {base::Secret(*found), true};
        }
        auto const& text = value.value.reveal();
        if (text.find('\r') != text.npos || text.find('\n') != text.npos)
            return r.mistake(member.line, key + "." + member.key, "expected one line");
        r.entry.headers[member.key] = std::move(value);
    }
}

void read_disabled(EntryReader& r, JsonNode const& node, std::string const& key) {
    bool const off = r.flag(node, key) == (key == "disabled");
    if ((r.enabled_said || r.disabled_said) && off != r.entry.disabled)
        return r.mistake(node.line, key, "expected disabled and enabled not to contradict each other");
    (key == "disabled" ? r.disabled_said : r.enabled_said) = true;
    r.entry.disabled = off;
}

void read_timeout(EntryReader& r, JsonNode const& node, std::string const& key) {
    if (node.is(Kind::object)) {  // opencode: {startup, request}
        if (auto const* v = node.find("startup")) {
            r.entry.start_timeout = std::chrono::milliseconds(r.whole(*v, key + ".startup", 1000, kDay));
            r.entry.start_timeout_said = true;
        }
        if (auto const* v = node.find("request"))
            r.entry.call_timeout = std::chrono::milliseconds(r.whole(*v, key + ".request", 1000, kDay));
        return;
    }
    if (r.dialect == "cline") {
        r.entry.call_timeout = std::chrono::seconds(r.whole(node, key, 1, 86'400));
        return;
    }
    if (node.is(Kind::number) && node.number < 1000)
        return r.mistake(node.line, key,
                         "expected milliseconds, at least 1000: " + node.text +
                             " looks like seconds; write callTimeoutMs, or \"dialect\": \"cline\" where "
                             "timeout counts seconds");
    r.entry.call_timeout = std::chrono::milliseconds(r.whole(node, key, 1000, kDay));
}

void read_dialect(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const text = r.text(node, key);
    if (text != "gemini" && text != "cline")
        return r.mistake(node.line, key, "expected gemini or cline, not \"" + text.substr(0, 60) + '"');
    r.dialect = text;
}

void read_isolation(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const text = r.text(node, key);
    if (text == "sandbox")
        r.entry.isolation = ServerEntry::Isolation::sandbox;
    else if (text == "host-insecure")
        r.entry.isolation = ServerEntry::Isolation::host_insecure;
    else
        r.mistake(node.line, key,
                  "expected sandbox, or host-insecure: the server then runs with all of berth's rights");
}

void read_idle(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const text = r.text(node, key);
    if (text != "stop" && text != "hibernate")
        return r.mistake(node.line, key, "expected stop or hibernate, not \"" + text.substr(0, 60) + '"');
    r.entry.hibernate = text == "hibernate";
}

void read_domains(EntryReader& r, JsonNode const& node, std::string const& key) {
    for (auto& pattern : r.texts(node, key)) {
        auto const problem = pattern == "*" ? std::string("expected hosts by name") : check_pattern(pattern);
        if (!problem.empty())
            return r.mistake(node.line, key, problem + ", not \"" + pattern.substr(0, 60) + '"');
        r.entry.sandbox.allowed_domains.push_back(std::move(pattern));
    }
}

void read_approvals(EntryReader& r, JsonNode const& node, std::string const& key) {
    if (node.is(Kind::array))
        r.entry.auto_approve = r.texts(node, key);
    else if (r.flag(node, key))
        r.entry.auto_approve = {"*"};
    r.note(node.line, key + " loosens nothing here: whom to ask before a call is for the client");
}

void read_tools_list(EntryReader& r, JsonNode const& node, std::string const& key) {
    if (!r.entry.tools.allow) r.entry.tools.allow.emplace();  // an empty list is one: it allows none
    for (auto& name : r.texts(node, key)) r.entry.tools.allow->push_back(std::move(name));
}

#define BERTH_FIELD(member) \
    [](ServerEntry & e) -> auto& { return e.member; }

std::vector<EntryKey> make_entry_keys() {
    auto const mib = [](std::uint64_t min_bytes, auto field) {
        return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
            auto const min = static_cast<std::int64_t>(min_bytes >> 20);
            field(r.entry) = static_cast<std::uint64_t>(r.whole(node, key, min, 1 << 20)) << 20;
        };
    };
    auto const text = [](auto field) {
        return [field](EntryReader& r, JsonNode const& node, std::string const& key) {
            field(r.entry) = r.text(node, key);
        };
    };
    auto const flag = [](auto field) {
        return [field](EntryReader& r, JsonNode const& node, std::string const& key) {
            field(r.entry) = r.flag(node, key);
        };
    };
    auto const count = [](std::int64_t min, std::int64_t max, auto field) {
        return [=](EntryReader& r, JsonNode const& node, std::string const& key) {
            field(r.entry) = static_cast<int>(r.whole(node, key, min, max));
        };
    };
    auto const map = [](auto field) {
        return [field](EntryReader& r, JsonNode const& node, std::string const& key) {
            field(r.entry) = r.text_map(node, key);
        };
    };
    return {
        {"command",
         {},
         "program",
         "",
         "The program to start: a name on the sandbox's PATH or a path inside. A list is the program and its "
         "first arguments. Never run by a shell on this machine.",
         read_command},
        {"args",
         {},
         "strings",
         "[]",
         "Arguments of the program, each passed as it is.",
         list_key(BERTH_FIELD(args))},
        {"env",
         {},
         "variables",
         "{}",
         "Environment of the server. Beside it stand those of the template, PATH, HOME, USER, LOGNAME, SHELL, "
         "LANG, TERM, CHOKIDAR_USEPOLLING, CHOKIDAR_INTERVAL and WATCHPACK_POLLING, and with a network those "
         "of its proxy (HTTP_PROXY, npm_config_proxy and the like). Nothing of berth's own is passed on. "
         "npx, uvx and their like are told in variables of theirs how to fetch, unless they are set here.",
         read_env},
        {"envFile", {}, "file", "", "Further variables, one NAME=value a line; `env` wins.", read_env_file},
        {"cwd", {}, "directory", "/workspace", "Where the program starts, inside.", text(BERTH_FIELD(cwd))},
        {"type",
         {"transport"},
         "stdio, http, streamable-http, sse",
         "by command or url",
         "How berth talks to the server. Without it: stdio for a command; for a url Streamable HTTP first, "
         "then the older SSE.",
         read_kind},
        {"url",
         {"serverUrl", "httpUrl"},
         "address",
         "",
         "Address of a server that runs elsewhere. It is called from this machine, not from a sandbox.",
         text(BERTH_FIELD(url))},
        {"headers",
         {"envHttpHeaders", "env_http_headers"},
         "headers",
         "{}",
         "Headers of each request to `url`. Under envHttpHeaders the values are names of variables.",
         read_headers},
        {"bearerTokenEnvVar",
         {"bearer_token_env_var"},
         "variable",
         "",
         "Name of the variable that holds a bearer token for `url`.",
         [](EntryReader& r, JsonNode const& node, std::string const& key) {
             r.bearer_variable = r.text(node, key);
         }},
        {"disabled",
         {"enabled"},
         "true, false",
         "false",
         "Keeps the entry without running it.",
         read_disabled},
        {"isolation",
         {},
         "sandbox, host-insecure",
         "sandbox",
         "Where the command runs. host-insecure is outside any sandbox, with all of berth's rights, and "
         "status says so.",
         read_isolation},
        {"sandbox.filesystem.allowRead",
         {},
         "paths",
         "[]",
         "Files and directories of this machine that the server sees, read-only, at the same path.",
         paths_key(BERTH_FIELD(sandbox.allow_read))},
        {"sandbox.filesystem.allowWrite",
         {},
         "paths",
         "[]",
         "The same, writable.",
         paths_key(BERTH_FIELD(sandbox.allow_write))},
        {"sandbox.filesystem.denyRead",
         {},
         "paths",
         "[]",
         "Accepted from VS Code's files: nothing is readable that was not allowed. A path within an allowed one, or around one of "
         "allowWrite, cannot be kept and is a mistake.",
         read_refused},
        {"sandbox.filesystem.denyWrite",
         {},
         "paths",
         "[]",
         "The same for writing: a path within or around one of allowWrite is a mistake.",
         read_refused},
        {"sandbox.network.allowedDomains",
         {},
         "host patterns",
         "[]",
         "Hosts that the server reaches through the egress proxy: exact, or *.example.com, each with an "
         "optional port. None: no network.",
         read_domains},
        {"sandbox.network.deniedDomains",
         {},
         "host patterns",
         "[]",
         "Accepted from VS Code's files: no host is reachable that was not allowed. A pattern that shares a host with an allowed "
         "one cannot be kept and is a mistake.",
         read_refused},
        {"sandbox.workspace",
         {},
         "workspace",
         "",
         "Id or name of a workspace whose /workspace the server shares. Without it /workspace is the "
         "server's own.",
         text(BERTH_FIELD(sandbox.workspace))},
        {"sandbox.template",
         {},
         "template",
         "the default template",
         "Root file system of the sandbox.",
         text(BERTH_FIELD(sandbox.template_name))},
        {"sandbox.memoryMb",
         {},
         "MiB",
         "1024",
         "Memory of the server and everything it starts.",
         mib(kMinMemoryBytes, BERTH_FIELD(sandbox.memory_bytes))},
        {"sandbox.diskMb",
         {},
         "MiB",
         "2048",
         "Size of the server's own volume, which keeps its home (caches of npm and pip) and its /workspace.",
         mib(kMinDiskBytes, BERTH_FIELD(sandbox.disk_bytes))},
        {"sandbox.cpus",
         {},
         "processors",
         "1",
         "Processor time.",
         [](EntryReader& r, JsonNode const& node, std::string const& key) {
             r.entry.sandbox.cpus = r.fraction(node, key, kMinCpus, 1024);
         }},
        {"sandbox.pids",
         {},
         "processes",
         "256",
         "Processes and threads inside.",
         count(kMinPids, 100'000, BERTH_FIELD(sandbox.pids))},
        {"sandboxEnabled",
         {},
         "true, false",
         "true",
         "Accepted from VS Code's files. false changes nothing: `isolation` is how to leave the sandbox.",
         [](EntryReader& r, JsonNode const& node, std::string const& key) {
             if (!r.flag(node, key))
                 r.note(node.line,
                        "sandboxEnabled: false changes nothing; isolation: host-insecure is how to leave the "
                        "sandbox");
         }},
        {"tools.allow",
         {"tools", "includeTools", "enabled_tools", "enabledTools"},
         "tool names",
         "all",
         "Only these tools are offered; * stands for any characters. An empty list offers none.",
         read_tools_list},
        {"tools.deny",
         {"excludeTools", "disabledTools", "disabled_tools"},
         "tool names",
         "[]",
         "These are not, whatever `tools.allow` says.",
         list_key(BERTH_FIELD(tools.deny))},
        {"tools.rename",
         {},
         "names by name",
         "{}",
         "Other names; the server's name stays in front.",
         map(BERTH_FIELD(tools.rename))},
        {"tools.describe",
         {"toolDescriptionOverrides"},
         "texts by name",
         "{}",
         "Other descriptions.",
         map(BERTH_FIELD(tools.describe))},
        {"pinTools",
         {},
         "true, false",
         "true",
         "Tools are offered as they were first seen; a changed or further one is held back until it is "
         "approved.",
         flag(BERTH_FIELD(pin_tools))},
        {"startTimeoutMs",
         {"connectionTimeout", "startup_timeout_sec"},
         "milliseconds",
         "60000",
         "How long a start may take until the server has answered; 180000 unless it is given where npx, uvx and their like may "
         "have to download the server first. startup_timeout_sec counts seconds.",
         said(with_seconds({"startup_timeout_sec"}, 100, kDay, BERTH_FIELD(start_timeout)), BERTH_FIELD(start_timeout_said))},
        {"callTimeoutMs",
         {"requestTimeout", "tool_timeout_sec"},
         "milliseconds",
         "120000",
         "How long a call may take. tool_timeout_sec counts seconds.",
         with_seconds({"tool_timeout_sec"}, 100, kDay, BERTH_FIELD(call_timeout))},
        {"timeout",
         {},
         "milliseconds",
         "120000",
         "The same in the spelling of most clients. Less than 1000 is refused, since Cline counts seconds "
         "here.",
         read_timeout},
        {"idleTimeoutMs",
         {"idle_timeout_seconds"},
         "milliseconds",
         "600000",
         "Without calls for this long the server is stopped; the next call starts it. 0 means never. "
         "idle_timeout_seconds counts seconds.",
         with_seconds({"idle_timeout_seconds"}, 0, 30 * kDay, BERTH_FIELD(idle_timeout))},
        {"idle",
         {},
         "stop, hibernate",
         "stop",
         "What becomes of an idle server. hibernate writes its memory to disk, and the next call wakes it where it was: "
         "for servers that keep in memory what they must not lose. Sandboxed commands only.",
         read_idle},
        {"startOnDemand",
         {"lazy"},
         "true, false",
         "true",
         "The server starts with the first call, once its tools are known. false starts it with berth.",
         flag(BERTH_FIELD(start_on_demand))},
        {"restartOnExit",
         {},
         "true, false",
         "true",
         "A server that ended by itself is started again by the next call. false leaves it failed.",
         flag(BERTH_FIELD(restart_on_exit))},
        {"maxRestarts",
         {},
         "starts",
         "5",
         "Failed starts in a row until berth gives up. 0 means never.",
         count(0, 1000, BERTH_FIELD(max_restarts))},
        {"restartDelay",
         {"restartDelayMs"},
         "milliseconds",
         "1000",
         "Wait after the first failure; it doubles up to 16 times this.",
         milliseconds_key(10, kDay, BERTH_FIELD(restart_delay))},
        {"maxConcurrentCalls",
         {},
         "calls",
         "16",
         "Calls at once; further ones wait their turn.",
         count(1, 10'000, BERTH_FIELD(max_concurrent_calls))},
        {"callsPerMinute",
         {},
         "calls",
         "0",
         "Calls in a minute; further ones are refused. 0 means any number.",
         count(0, 1'000'000, BERTH_FIELD(calls_per_minute))},
        {"maxResultKb",
         {},
         "KiB",
         "8192",
         "Largest result of a call; a larger one is refused with its size.",
         [](EntryReader& r, JsonNode const& node, std::string const& key) {
             r.entry.max_result_bytes = static_cast<std::uint64_t>(r.whole(node, key, 1, 1 << 14)) << 10;
         }},
        {"autoApprove",
         {"alwaysAllow", "trust"},
         "tool names",
         "[]",
         "Accepted from Cline, Roo and Gemini. It loosens nothing: whom to ask before a call is for the client.",
         read_approvals},
        {"dialect",
         {},
         "gemini, cline",
         "",
         "Reads `timeout` in seconds (cline), or $NAME without braces (gemini).",
         read_dialect},
    };
}

#undef BERTH_FIELD

}  // namespace

std::vector<EntryKey> const& entry_keys() {
    static std::vector<EntryKey> const all = [] {
        auto keys = make_entry_keys();
        auto login = oauth_keys();
        auto const place =
            std::find_if(keys.begin(), keys.end(), [](auto const& key) { return key.name == "disabled"; });
        keys.insert(place, std::make_move_iterator(login.begin()), std::make_move_iterator(login.end()));
        return keys;
    }();
    return all;
}

}  // namespace config::servers_json
