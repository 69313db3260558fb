#include "commands.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <config/servers.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>

// The operator's side of servers.json. No tool and no route writes it: this command does, and nothing else.
namespace host {
namespace {

constexpr std::size_t kMaxFile = 1 << 20;

std::string file_of(Options const& o) {
    return o.servers.empty() ? std::filesystem::absolute(o.data).string() + "/servers.json" : o.servers;
}

/// Our catalogue stands beside the program, or where it was installed.
std::string catalogue_directory() {
    auto const here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    for (auto const& candidate : {here / "../../../servers/catalogue", here / "../share/berth/catalogue"})
        if (std::filesystem::is_directory(candidate)) return std::filesystem::canonical(candidate).string();
    return {};
}

/// Imported files are often somebody else's: what an entry asks for is shown, and running outside any sandbox has to
/// be asked for. One with a mistake may hide that wish, so that it counts when the file speaks of it at all.
base::Status look_through(std::string const& other, std::string const& name,
                          std::vector<std::string> const& taken, bool insecure) {
    auto const file = config::parse_servers(other, name, config::process_variables());
    if (!file) return file.error();
    bool const spoken_of = other.find("insecure") != other.npos || other.find("\\u") != other.npos;
    for (auto const& entry : file->servers) {
        if (std::find(taken.begin(), taken.end(), entry.name) == taken.end()) continue;
        for (auto const& path : entry.sandbox.allow_read)
            std::printf("%s: asks to read %s\n", entry.name.c_str(), path.c_str());
        for (auto const& path : entry.sandbox.allow_write)
            std::printf("%s: asks to write %s\n", entry.name.c_str(), path.c_str());
        bool const outside = entry.isolation == config::ServerEntry::Isolation::host_insecure ||
                             (!entry.problem.empty() && spoken_of);
        if (outside && !insecure)
            return base::error(base::errc::denied,
                               entry.name + " would run outside any sandbox (isolation: host-insecure), so nothing "
                                            "was imported; take the entry out of " +
                                   name + ", or import with --insecure");
    }
    return {};
}

int merge(Options const& o, std::string const& other, std::string const& name, bool insecure) {
    auto const path = file_of(o);
    std::string ours;
    if (std::filesystem::exists(path)) {
        auto text = base::read_file(path, kMaxFile);
        if (!text) return fail(text.error().message());
        ours = std::move(*text);
    }
    std::vector<std::string> taken, skipped;
    auto merged = config::merge_servers(ours, other, name, taken, skipped);
    if (!merged) return fail(merged.error().message());
    if (auto s = look_through(other, name, taken, insecure); !s) return fail(s.error().message());
    for (auto const& server : skipped) std::printf("%s: already there, left as it is\n", server.c_str());
    if (!taken.empty())
        if (auto s = base::replace_file(path, *merged, 0600); !s) return fail(s.error().message());
    for (auto const& server : taken) std::printf("%s: added to %s\n", server.c_str(), path.c_str());
    if (taken.empty()) return 0;
    auto const file = config::load_servers(path, config::process_variables());
    if (!file) return fail(file.error().message());
    for (auto const& entry : file->servers) {
        if (std::find(taken.begin(), taken.end(), entry.name) == taken.end()) continue;
        if (!entry.problem.empty()) std::printf("%s\n", entry.problem.c_str());
        if (entry.problem.empty() && entry.kind == config::ServerEntry::Kind::stdio &&
            entry.sandbox.allowed_domains.empty())
            std::printf(
                "%s: has no network; name the hosts that it needs in sandbox.network.allowedDomains\n",
                entry.name.c_str());
    }
    return 0;
}

int check(Options const& o) {
    auto const file = config::load_servers(file_of(o), config::process_variables());
    if (!file) return fail(file.error().message());
    int wrong = 0;
    for (auto const& entry : file->servers) {
        if (!entry.problem.empty()) {
            std::printf("%s\n", entry.problem.c_str());
            ++wrong;
            continue;
        }
        for (auto const& note : entry.notes) std::printf("%s\n", note.c_str());
        char const* how = entry.disabled                                   ? "disabled"
                          : entry.kind != config::ServerEntry::Kind::stdio ? "remote"
                          : entry.isolation == config::ServerEntry::Isolation::sandbox
                              ? "in a sandbox"
                              : "on the host, insecure";
        std::printf("%s: good, %s%s\n", entry.name.c_str(), how,
                    entry.kind == config::ServerEntry::Kind::stdio && entry.sandbox.allowed_domains.empty()
                        ? ", no network"
                        : "");
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
    if (status == 0 && entry->contains("note")) std::printf("%s\n", entry->value("note", "").c_str());
    return status;
}

}  // namespace

int servers(Options const& o) {
    auto const verb = o.rest.empty() ? std::string() : o.rest[0];
    if (verb == "check") return check(o);
    if (verb == "catalogue") return catalogue();
    if (verb == "add") return add(o);
    if (verb == "import") {
        if (o.rest.size() < 2 || o.rest[1].starts_with("--"))
            return fail("expected a file: berth servers import ~/.config/Claude/claude_desktop_config.json");
        auto const text = base::read_file(o.rest[1], kMaxFile);
        if (!text) return fail(text.error().message());
        bool const insecure = std::find(o.rest.begin(), o.rest.end(), "--insecure") != o.rest.end();
        return merge(o, *text, o.rest[1], insecure);
    }
    return fail("expected import FILE, check, catalogue or add NAME");
}

}  // namespace host
