#include <sandbox/egress.hpp>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <servers/package_runner.hpp>
#include <string_view>

namespace servers {
namespace {

using Kind = PackageRunner::Kind;
using Words = std::vector<std::string>;

constexpr std::chrono::milliseconds kDownloadLimit{180'000};

std::string base_name(std::string const& command) { return command.substr(command.rfind('/') + 1); }

std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

/// How one spelling of a runner is written: `npm exec PACKAGE`, `uv tool run PACKAGE`.
struct Spelling {
    char const* program;
    Words verbs;  ///< the words that make it a runner, each any of those between bars
    Kind kind;
    bool first_is_package = true;  ///< else its first word is the program to run
};

std::vector<Spelling> const& spellings() {
    static std::vector<Spelling> const all{
        {"npx", {}, Kind::npm},           {"pnpx", {}, Kind::npm},      {"npm", {"exec|x"}, Kind::npm},
        {"pnpm", {"dlx"}, Kind::npm},     {"uvx", {}, Kind::uv},        {"uv", {"tool", "run"}, Kind::uv},
        {"uv", {"run"}, Kind::uv, false}, {"pipx", {"run"}, Kind::pip}, {"bunx", {}, Kind::bun},
        {"bun", {"x"}, Kind::bun},
    };
    return all;
}

bool one_of(std::string const& word, std::string_view bars) {
    for (;;) {
        auto const bar = bars.find('|');
        if (bars.substr(0, bar) == word) return true;
        if (bar == bars.npos) return false;
        bars.remove_prefix(bar + 1);
    }
}

/// The options that are followed by their value, of those that stand before a package.
bool takes_value(Kind kind, std::string const& option) {
    static Words const npm{"-p",
                           "--package",
                           "-c",
                           "--call",
                           "-w",
                           "--workspace",
                           "--registry",
                           "--cache",
                           "--prefix",
                           "--userconfig",
                           "--globalconfig",
                           "--loglevel",
                           "--cafile",
                           "--script-shell"};
    static Words const uv{"--from",
                          "--with",
                          "--with-editable",
                          "--with-requirements",
                          "-w",
                          "-p",
                          "--python",
                          "--index",
                          "--default-index",
                          "-i",
                          "--index-url",
                          "--extra-index-url",
                          "-f",
                          "--find-links",
                          "--index-strategy",
                          "--cache-dir",
                          "--directory",
                          "--project",
                          "--config-file",
                          "--env-file",
                          "--keyring-provider",
                          "--resolution",
                          "--prerelease",
                          "--exclude-newer",
                          "--python-preference",
                          "-c",
                          "--constraints",
                          "--overrides",
                          "--extra",
                          "--group",
                          "--package",
                          "-m",
                          "--module"};
    static Words const pip{"--spec", "--python",        "-i", "--index-url", "--pip-args",
                           "--with", "--default-python"};
    static Words const bun{"-p", "--package"};
    auto const& all = kind == Kind::npm ? npm : kind == Kind::uv ? uv : kind == Kind::pip ? pip : bun;
    return std::find(all.begin(), all.end(), option) != all.end();
}

struct Command {
    std::map<std::string, Words> options;  ///< those with a value
    std::string first;                     ///< the first word that is no option; "" = none
};

Command read(Kind kind, Words const& args, std::size_t at) {
    Command out;
    for (; at < args.size(); ++at) {
        auto const& word = args[at];
        if (word == "--") {
            if (at + 1 < args.size()) out.first = args[at + 1];
            break;
        }
        if (!word.starts_with("-")) {
            out.first = word;
            break;
        }
        auto const equals = word.find('=');
        if (equals != word.npos)
            out.options[word.substr(0, equals)].push_back(word.substr(equals + 1));
        else if (takes_value(kind, word) && at + 1 < args.size())
            out.options[word].push_back(args[++at]);
    }
    return out;
}

/// Where the runner's own words begin, or nothing when this is another of the program's commands.
std::optional<std::size_t> after_verbs(Words const& args, Spelling const& spelling, Command& before) {
    std::size_t at = 0;
    for (auto const& verb : spelling.verbs) {
        while (at < args.size() && args[at].starts_with("-")) {
            auto const equals = args[at].find('=');
            if (equals != std::string::npos) {
                before.options[args[at].substr(0, equals)].push_back(args[at].substr(equals + 1));
            } else if (takes_value(spelling.kind, args[at]) && at + 1 < args.size()) {
                before.options[args[at]].push_back(args[at + 1]);
                ++at;
            }
            ++at;
        }
        if (at >= args.size() || !one_of(args[at], verb)) return std::nullopt;
        ++at;
    }
    return at;
}

bool digit(char c) { return c >= '0' && c <= '9'; }

/// One release: digits and dots, and what a release's name may end with. No range, no tag.
bool is_version(std::string_view version, bool semantic) {
    auto const core = version.substr(0, version.find_first_of("-+"));
    if (core.empty() || !digit(core[0])) return false;
    if (semantic)
        return std::count(core.begin(), core.end(), '.') == 2 && !core.ends_with('.') &&
               core.find("..") == core.npos &&
               std::all_of(core.begin(), core.end(), [](char c) { return digit(c) || c == '.'; }) &&
               version.find_first_of(" |<>=*^~") == version.npos;
    return std::all_of(version.begin(), version.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) ||
               std::string_view(".+-_!").find(c) != std::string_view::npos;
    });
}

bool is_exact(Kind kind, std::string const& package) {
    bool const python = kind == Kind::uv || kind == Kind::pip;
    if (python) {
        if (auto const at = package.find("=="); at != package.npos)
            return is_version(std::string_view(package).substr(at + 2), false);
        if (kind == Kind::pip) return false;
    }
    auto const at = package.rfind('@');
    if (at == package.npos || at == 0) return false;
    return is_version(std::string_view(package).substr(at + 1), !python);
}

/// "https://user:pw@host:8080/path" as the host pattern "host:8080".
std::string host_of(std::string address) {
    auto const scheme = address.find("://");
    if (scheme == address.npos) return {};
    auto const name = lower(address.substr(0, scheme));
    // uv: NAME=URL, sparse+https://...
    if (!name.ends_with("http") && !name.ends_with("https")) return {};
    address.erase(0, scheme + 3);
    address.erase(std::min(address.find_first_of("/?#"), address.size()));
    if (auto const at = address.rfind('@'); at != address.npos) address.erase(0, at + 1);
    auto const colon = address.rfind(':');
    bool const port = colon != address.npos && address.find(']', colon) == address.npos;
    if (port && (address.substr(colon) == ":443" || address.substr(colon) == ":80")) address.erase(colon);
    return lower(address);
}

/// The value of the first of these options or variables that names an address.
std::vector<std::string> named_hosts(config::ServerEntry const& entry, Command const& command,
                                     Words const& options, Words const& variables) {
    std::vector<std::string> out;
    auto const add = [&](std::string const& text) {
        for (std::size_t at = 0; at < text.size();) {  // some variables are lists
            auto const end = std::min(text.find(' ', at), text.size());
            auto const host = host_of(text.substr(at, end - at));
            if (!host.empty() && std::find(out.begin(), out.end(), host) == out.end()) out.push_back(host);
            at = end + 1;
        }
    };
    for (auto const& option : options)
        if (auto const it = command.options.find(option); it != command.options.end())
            for (auto const& value : it->second) add(value);
    for (auto const& variable : variables)
        for (auto const& [name, value] : entry.env)
            if (lower(name) == lower(variable)) add(value.value.reveal());
    return out;
}

std::vector<std::string> hosts_of(Kind kind, config::ServerEntry const& entry, Command const& command) {
    if (kind == Kind::npm || kind == Kind::bun) {
        auto named =
            named_hosts(entry, command, {"--registry"}, {"npm_config_registry", "BUN_CONFIG_REGISTRY"});
        if (named.empty()) named.push_back("registry.npmjs.org");
        return named;
    }
    auto const instead = kind == Kind::uv
                             ? named_hosts(entry, command, {"--default-index", "-i", "--index-url"},
                                           {"UV_DEFAULT_INDEX", "UV_INDEX_URL"})
                             : named_hosts(entry, command, {"-i", "--index-url"}, {"PIP_INDEX_URL"});
    auto hosts = instead.empty() ? std::vector<std::string>{"pypi.org", "files.pythonhosted.org"} : instead;
    auto const beside = kind == Kind::uv ? named_hosts(entry, command, {"--index", "--extra-index-url"},
                                                       {"UV_INDEX", "UV_EXTRA_INDEX_URL"})
                                         : named_hosts(entry, command, {}, {"PIP_EXTRA_INDEX_URL"});
    for (auto const& host : beside)
        if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
    return hosts;
}

std::string listed(std::vector<std::string> const& names, char const* quote = "",
                   char const* last = " and ") {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i)
        out += (i == 0 ? "" : i + 1 == names.size() ? last : ", ") + (quote + names[i]) + quote;
    return out;
}

bool sandboxed(config::ServerEntry const& entry) {
    return entry.kind == config::ServerEntry::Kind::stdio &&
           entry.isolation == config::ServerEntry::Isolation::sandbox;
}

bool contains(std::string const& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

std::optional<PackageRunner> package_runner(config::ServerEntry const& entry) {
    if (entry.kind != config::ServerEntry::Kind::stdio) return std::nullopt;
    auto const program = base_name(entry.command);
    for (auto const& spelling : spellings()) {
        if (program != spelling.program) continue;
        Command command;
        auto const at = after_verbs(entry.args, spelling, command);
        if (!at) continue;
        auto own = read(spelling.kind, entry.args, *at);
        for (auto& [option, values] : own.options)
            command.options[option].insert(command.options[option].end(), values.begin(), values.end());
        command.first = own.first;
        PackageRunner runner;
        runner.kind = spelling.kind;
        runner.program = program;
        Words const named_by = runner.kind == Kind::uv    ? Words{"--from", "--with"}
                               : runner.kind == Kind::pip ? Words{"--spec", "--with"}
                                                          : Words{"-p", "--package"};
        bool instead = false;
        for (auto const& option : named_by)
            if (auto const it = command.options.find(option); it != command.options.end()) {
                instead |= option != "--with";
                runner.packages.insert(runner.packages.end(), it->second.begin(), it->second.end());
            }
        if (!instead && spelling.first_is_package && !command.first.empty())
            runner.packages.insert(runner.packages.begin(), command.first);
        runner.exact = !runner.packages.empty() && spelling.first_is_package &&
                       std::all_of(runner.packages.begin(), runner.packages.end(),
                                   [&](auto const& one) { return is_exact(runner.kind, one); });
        runner.hosts = hosts_of(runner.kind, entry, command);
        return runner;
    }
    return std::nullopt;
}

std::vector<std::string> missing_hosts(PackageRunner const& runner, config::ServerEntry const& entry) {
    if (!sandboxed(entry)) return {};
    auto const policy = sandbox::EgressPolicy::parse(entry.sandbox.allowed_domains);
    if (!policy) return {};  // its start says what is wrong there
    std::vector<std::string> out;
    for (auto const& host : runner.hosts) {
        auto const colon = host.rfind(':');
        bool const port = colon != host.npos && host.find(']', colon) == host.npos;
        bool reached = false;
        if (port)
            reached = policy->allows(host.substr(0, colon), std::atoi(host.c_str() + colon + 1));
        else
            reached = policy->allows(host, 443) || policy->allows(host, 80);
        if (!reached) out.push_back(host);
    }
    return out;
}

std::string network_advice(PackageRunner const& runner, config::ServerEntry const& entry) {
    auto const missing = missing_hosts(runner, entry);
    if (missing.empty()) return {};
    auto const reach =
        runner.program + " downloads packages, and this server may not reach " + listed(missing, "", " or ");
    if (!entry.sandbox.allowed_domains.empty())
        return reach + ": add " + listed(missing, "\"") + " to sandbox.network.allowedDomains of its entry";
    return reach + ": write \"sandbox\": {\"network\": {\"allowedDomains\": [" + listed(missing, "\"", ", ") +
           "]}} into its entry";
}

Fetch first_fetch(PackageRunner const& runner, config::ServerEntry const& entry, bool known) {
    if (sandboxed(entry) && entry.sandbox.allowed_domains.empty()) return Fetch::nowhere;
    // npm alone can ask its cache first and the registry for what is missing there. The others look whether
    // their cache is still fresh, which is cheap; without a registry that answers they are told to do without
    // in the next attempt.
    bool const npm = runner.kind == Kind::npm;
    return known && runner.exact && npm ? Fetch::cache : Fetch::registry;
}

std::optional<Fetch> next_fetch(PackageRunner const& runner, config::ServerEntry const& entry, Fetch failed,
                                bool known) {
    if (failed == Fetch::nowhere) return std::nullopt;
    if (failed == Fetch::registry && known) return Fetch::cache;
    if (!missing_hosts(runner, entry).empty()) return std::nullopt;
    return Fetch::registry;
}

std::map<std::string, std::string> runner_environment(PackageRunner const& runner, Fetch fetch,
                                                      config::ServerEntry const& entry) {
    std::map<std::string, std::string> wanted;
    switch (runner.kind) {
        case Kind::npm:
            wanted = {{"npm_config_update_notifier", "false"},
                      {"npm_config_fund", "false"},
                      {"npm_config_audit", "false"}};
            if (fetch == Fetch::nowhere) {
                wanted["npm_config_offline"] = "true";
            } else {
                // Its own waits, 10 and 60 s, are longer than a client's patience; berth tries again itself.
                wanted["npm_config_fetch_retry_mintimeout"] = "1000";
                wanted["npm_config_fetch_retry_maxtimeout"] = "5000";
            }
            if (fetch == Fetch::cache) wanted["npm_config_prefer_offline"] = "true";
            if (!missing_hosts(runner, entry).empty()) wanted["npm_config_fetch_retries"] = "0";
            break;
        case Kind::uv:
            wanted = {{"UV_NO_PROGRESS", "1"}};
            if (fetch != Fetch::registry) wanted["UV_OFFLINE"] = "1";
            break;
        case Kind::pip:
            wanted = {{"PIP_DISABLE_PIP_VERSION_CHECK", "1"}};
            if (fetch != Fetch::registry) wanted["PIP_NO_INDEX"] = "1";
            break;
        case Kind::bun:
            if (fetch == Fetch::nowhere) wanted["BUN_CONFIG_HTTP_RETRY_COUNT"] = "0";
            break;
    }
    for (auto const& [name, value] : entry.env)
        std::erase_if(wanted, [own = lower(name)](auto const& one) { return lower(one.first) == own; });
    return wanted;
}

std::chrono::milliseconds start_limit(config::ServerEntry const& entry, std::optional<Fetch> fetch) {
    bool const downloads = fetch == Fetch::registry && !entry.start_timeout_said;
    return downloads ? std::max(entry.start_timeout, kDownloadLimit) : entry.start_timeout;
}

std::string no_such_program(config::ServerEntry const& entry, std::string const& template_name) {
    auto const& name = entry.command;
    if (name.find('/') == name.npos)
        return name + " is not in the template \"" + template_name +
               "\": name one that has it in sandbox.template (docs/config.md, templates_dir, says how one is "
               "made)";
    auto const there = name + " is not there in its sandbox: ";
    if (package_runner(entry))
        return there + "write \"command\": \"" + base_name(name) + "\", which is the template's own";
    return there + "name what it needs of this machine in sandbox.filesystem.allowRead";
}

Complaint missing_program(config::ServerEntry const& entry, std::string const& template_name,
                          Words const& said) {
    // As bash and dash say it of `exec`.
    auto const absent = [&](std::string const& line) {
        return contains(line, "exec: " + entry.command + ": not found") ||
               contains(line, ": " + entry.command + ": No such file or directory") ||
               contains(line, "exec: " + entry.command + ": cannot execute");
    };
    if (std::none_of(said.begin(), said.end(), absent)) return {};
    return {no_such_program(entry, template_name), true, true};
}

Complaint complaint_of(PackageRunner const& runner, Words const& said) {
    auto const heard = [&](auto... parts) {
        return std::any_of(said.begin(), said.end(),
                           [&](std::string const& line) { return (contains(line, parts) && ...); });
    };
    auto const begins = [&](auto... words) {
        return std::any_of(said.begin(), said.end(),
                           [&](std::string const& line) { return (line.starts_with(words) || ...); });
    };
    auto const what = runner.packages.empty() ? std::string("a package") : listed(runner.packages);
    auto const certainly = [](std::string sentence) { return Complaint{std::move(sentence), true, true}; };
    // Where a server ends with an error of its own, its runner keeps silent about it.
    bool failed = false;
    switch (runner.kind) {
        case Kind::npm:
            failed = begins("npm ERR!", "npm error", " ERR_PNPM");
            if (!failed) break;
            if (heard("npm", "ENOTCACHED")) return certainly(what + " is not in its volume yet");
            if (heard("npm", "code E404"))
                return certainly("the registry has no " + what + ", or not without a login");
            if (heard("npm", "code ETARGET")) return certainly("the registry has no such version of " + what);
            if (heard("npm", "code E401") || heard("npm", "code E403"))
                return certainly("the registry refuses " + what);
            if (heard("npm", "could not determine executable"))
                return certainly(what + " has no program to start");
            if (heard("npm", "code ENOSPC"))
                return certainly("its volume is full: sandbox.diskMb gives it more");
            break;
        case Kind::uv:
            failed = begins("error:", "  \u00d7", "\u00d7");
            if (!failed) break;
            if (heard("network was disabled") || heard("Network connectivity is disabled"))
                return certainly(what + " is not in its volume yet");
            if (heard("not found in the package registry")) return certainly("the registry has no " + what);
            break;
        case Kind::pip:
            failed = begins("ERROR:", "Fatal error from pip", "pip failed");
            break;
        case Kind::bun:
            failed = begins("error:");
            break;
    }
    return {failed ? runner.program + " could not fetch " + what : std::string(), false, failed};
}

}  // namespace servers
