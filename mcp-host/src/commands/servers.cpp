#include "../terminal.hpp"
#include "commands.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <config/registry_server.hpp>
#include <config/servers.hpp>
#include <config/settings.hpp>
#include <servers/package_runner.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

// The operator's side of servers.json. No tool and no route writes it: this command does, and nothing else.
namespace host {
namespace {

constexpr std::size_t kMaxFile = 1 << 20;

/// Our catalogue stands beside the program, or where it was installed.
std::string catalogue_directory() {
    auto const here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    for (auto const& candidate : {here / "../../../servers/catalogue", here / "../share/berth/catalogue"})
        if (std::filesystem::is_directory(candidate)) return std::filesystem::canonical(candidate).string();
    return {};
}

/// A line on stdout. Most of these name what somebody else wrote.
void say(std::string const& line) { std::printf("%s\n", plain(line).c_str()); }

/// Imported files are often somebody else's: what an entry asks for is shown, and running outside any sandbox has to
/// be asked for. One with a mistake may hide that wish, so that it counts when the file speaks of it at all. Gives the
/// entries that are left out.
base::Result<std::set<std::string>> look_through(std::string const& other, std::string const& name, bool insecure) {
    auto const file = config::parse_servers(other, name, config::process_variables());
    if (!file) return file.error();
    std::set<std::string> left_out;
    bool const spoken_of = other.find("insecure") != other.npos || other.find("\\u") != other.npos;
    for (auto const& entry : file->servers) {
        auto const show = [&](char const* what, std::vector<std::string> const& all) {
            for (auto const& one : all) say(entry.name + ": asks " + what + " " + one);
        };
        bool const outside = entry.isolation == config::ServerEntry::Isolation::host_insecure ||
                             (!entry.problem.empty() && spoken_of);
        if (outside && !insecure) {
            say(entry.name + ": left out, it would run outside any sandbox (isolation: host-insecure); --insecure takes it");
            left_out.insert(entry.name);
            continue;
        }
        show("to read", entry.sandbox.allow_read);
        show("to write", entry.sandbox.allow_write);
        show("for the contents of", entry.files);
        show("for the variable", entry.variables);
    }
    return left_out;
}

/// Why the entry's program is not to be had in its sandbox, "" when it is, or that cannot be seen from here.
std::string missing_in_template(Options const& o, config::ServerEntry const& entry) {
    namespace fs = std::filesystem;
    auto const settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config));
    if (!settings) return {};
    auto const& name = entry.sandbox.template_name.empty() ? settings->default_template : entry.sandbox.template_name;
    auto const root = fs::path(settings->templates_dir) / name / "rootfs";
    std::error_code ec;
    if (!fs::is_directory(root, ec)) return {};
    // A link counts: where it leads is seen inside only.
    auto const there = [&](std::string const& path) { return fs::exists(fs::symlink_status(root / path, ec)); };
    auto const& command = entry.command;
    if (command.starts_with('/')) {
        auto const shown = [&](auto const& all) {
            return std::any_of(all.begin(), all.end(), [&](auto const& path) { return command == path || command.starts_with(path + "/"); });
        };
        bool const own = command.starts_with("/workspace/") || command.starts_with("/home/agent/");
        if (own || shown(entry.sandbox.allow_read) || shown(entry.sandbox.allow_write) || there(command.substr(1))) return {};
        return servers::no_such_program(entry, name);
    }
    if (command.find('/') != command.npos) return {};
    for (auto const* directory : {"usr/local/sbin/", "usr/local/bin/", "usr/sbin/", "usr/bin/", "sbin/", "bin/"})
        if (there(directory + command)) return {};
    return servers::no_such_program(entry, name);
}

/// What is well written and will not work all the same.
std::vector<std::string> doubts(Options const& o, config::ServerEntry const& entry) {
    std::vector<std::string> out;
    if (entry.kind != config::ServerEntry::Kind::stdio || entry.isolation != config::ServerEntry::Isolation::sandbox) return out;
    if (auto missing = missing_in_template(o, entry); !missing.empty()) out.push_back(std::move(missing));
    if (auto const runner = servers::package_runner(entry))
        if (auto advice = servers::network_advice(*runner, entry); !advice.empty()) out.push_back(std::move(advice));
    auto const within = [](std::string const& path, std::string const& root) {
        return path == root || path.starts_with(root.ends_with('/') ? root : root + "/");
    };
    for (auto const& argument : entry.args) {
        // Of this machine, and not of the template: what people keep their files in.
        bool const theirs = within(argument, "/home") || within(argument, "/root") || within(argument, "/Users") ||
                            within(argument, "/mnt") || within(argument, "/media") || within(argument, "/srv");
        if (!theirs) continue;
        auto const covers = [&](std::string const& root) { return within(argument, root); };
        auto const& s = entry.sandbox;
        if (std::any_of(s.allow_read.begin(), s.allow_read.end(), covers) ||
            std::any_of(s.allow_write.begin(), s.allow_write.end(), covers))
            continue;
        out.push_back("argument " + argument + " is not visible inside: name it in sandbox.filesystem.allowRead or allowWrite");
    }
    return out;
}

int merge(Options const& o, std::string const& other, std::string const& name, bool insecure) {
    auto const path = servers_file(o);
    std::string ours;
    if (std::filesystem::exists(path)) {
        auto text = base::read_file(path, kMaxFile);
        if (!text) return fail(text.error().message());
        ours = std::move(*text);
    }
    auto const left_out = look_through(other, name, insecure);
    if (!left_out) return fail(left_out.error().message());
    std::vector<std::string> taken, skipped;
    auto merged = config::merge_servers(ours, other, name, taken, skipped, *left_out);
    if (!merged) return fail(merged.error().message());
    for (auto const& server : skipped) say(server + ": already there, left as it is");
    std::error_code ec;
    auto const directory = std::filesystem::path(path).parent_path();
    // Who imports first and serves then has no data directory yet; it is private, as berth makes it.
    if (!taken.empty() && std::filesystem::create_directory(directory, ec))
        std::filesystem::permissions(directory, std::filesystem::perms::owner_all, ec);
    if (!taken.empty())
        if (auto s = base::replace_file(path, *merged, 0600); !s) return fail(s.error().message());
    for (auto const& server : taken) say(server + ": added to " + path);
    if (taken.empty()) return left_out->empty() ? 0 : 1;
    auto const file = config::load_servers(path, config::process_variables());
    if (!file) return fail(file.error().message());
    for (auto const& entry : file->servers) {
        if (std::find(taken.begin(), taken.end(), entry.name) == taken.end()) continue;
        if (!entry.problem.empty()) say(entry.problem);
        auto const found = doubts(o, entry);
        for (auto const& doubt : found) say(entry.name + ": " + doubt);
        if (entry.problem.empty() && entry.kind == config::ServerEntry::Kind::stdio &&
            entry.sandbox.allowed_domains.empty() && found.empty())
            say(entry.name + ": has no network; name the hosts that it needs in sandbox.network.allowedDomains");
    }
    return 0;
}

int check(Options const& o) {
    auto const file = config::load_servers(servers_file(o), config::process_variables());
    if (!file) return fail(file.error().message());
    int wrong = 0;
    for (auto const& entry : file->servers) {
        if (!entry.problem.empty()) {
            say(entry.problem);
            ++wrong;
            continue;
        }
        for (auto const& note : entry.notes) say(note);
        for (auto const& doubt : doubts(o, entry)) say(entry.name + ": " + doubt);
        char const* how = entry.disabled                                   ? "disabled"
                          : entry.kind != config::ServerEntry::Kind::stdio ? "remote"
                          : entry.isolation == config::ServerEntry::Isolation::sandbox
                              ? "in a sandbox"
                              : "on the host, insecure";
        bool const offline = entry.kind == config::ServerEntry::Kind::stdio && entry.sandbox.allowed_domains.empty();
        say(entry.name + ": good, " + how + (offline ? ", no network" : ""));
    }
    return wrong == 0 ? 0 : 1;
}

base::Result<base::Json> catalogue_entry(std::filesystem::path const& path) {
    auto text = base::read_file(path.string(), kMaxFile);
    if (!text) return text.error();
    return base::parse_json(*text);
}

int catalogue() {
    auto const directory = catalogue_directory();
    if (directory.empty()) return fail("the catalogue is not installed");
    std::vector<std::filesystem::path> files;
    for (auto const& file : std::filesystem::directory_iterator(directory))
        if (file.path().extension() == ".json") files.push_back(file.path());
    std::sort(files.begin(), files.end());
    for (auto const& path : files) {
        auto const entry = catalogue_entry(path);
        if (!entry) return fail(path.string() + ": " + entry.error().message());
        std::printf("%-20s %-9s %s\n", path.stem().c_str(),
                    entry->value("tested", "") == "" ? "untested" : "tested",
                    entry->value("description", "").c_str());
    }
    return 0;
}

int add(Options const& o) {
    if (o.rest.size() < 2)
        return fail("expected a name from berth servers catalogue: berth servers add NAME");
    auto const& name = o.rest[1];
    if (name.find('/') != name.npos || name.starts_with("."))
        return fail("no entry of the catalogue is named " + name);
    auto const path = catalogue_directory() + "/" + name + ".json";
    auto const entry = catalogue_entry(path);
    if (!entry) return fail("no entry of the catalogue is named " + name + ": see berth servers catalogue");
    base::Json const wrapped{{"mcpServers", {{name, entry->value("entry", base::Json::object())}}}};
    auto const status = merge(o, wrapped.dump(4), path, true);
    if (status == 0 && entry->contains("note")) say(entry->value("note", ""));
    return status;
}

}  // namespace

std::string servers_file(Options const& o) {
    return o.servers.empty() ? std::filesystem::absolute(o.data).string() + "/servers.json" : o.servers;
}

int servers(Options const& o) {
    auto const verb = o.rest.empty() ? std::string() : o.rest[0];
    if (verb == "check") return check(o);
    if (verb == "catalogue") return catalogue();
    if (verb == "add") return add(o);
    if (verb == "login") return servers_login(o);
    if (verb == "logout") return servers_logout(o);
    if (verb == "import") {
        if (o.rest.size() < 2)
            return fail("expected a file: berth servers import ~/.config/Claude/claude_desktop_config.json");
        auto text = base::read_file(o.rest[1], kMaxFile);
        if (text && config::is_registry_server(*text)) text = config::servers_of_registry(*text, o.rest[1]);
        if (!text) return fail(text.error().message());
        return merge(o, *text, o.rest[1], o.insecure);
    }
    return fail("expected import FILE, check, catalogue, add NAME, login NAME or logout NAME");
}

}  // namespace host
