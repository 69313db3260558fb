#include "check.hpp"

#include <config/servers.hpp>

#include <cstdint>
#include <set>

namespace {

config::ServerVariables variables() {
    config::ServerVariables out;
    out.environment = [](std::string const& name) -> std::optional<std::string> {
        if (name == "TOKEN") return "environment-secret";
        if (name == "NESTED") return "${TOKEN}";
        return std::nullopt;
    };
    out.file = [](std::string const& path) -> base::Result<std::string> {
        if (path == "/run/secret") return std::string("file-secret\n");
        return base::error(base::errc::not_found, path);
    };
    return out;
}

bool one_line(std::string const& text) { return text.find('\n') == text.npos; }

}  // namespace

// A refusal names file and line in one line; what is accepted keeps the rules that the supervisor relies on; and no secret that
// came from outside stands in anything that is shown to people.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string const text(reinterpret_cast<char const*>(data), size);
    auto const file = config::parse_servers(text, "f.json", variables());
    if (!file) {
        FUZZ_CHECK(file.error().context.starts_with("f.json"));
        FUZZ_CHECK(one_line(file.error().context));
        return 0;
    }
    auto const shown = [](std::string const& words) {
        FUZZ_CHECK(words.find("environment-secret") == words.npos);
        FUZZ_CHECK(words.find("file-secret") == words.npos);
    };
    std::set<std::string> names;
    for (auto const& note : file->notes) shown(note);
    for (auto const& server : file->servers) {
        FUZZ_CHECK(names.insert(server.name).second);
        for (auto const& note : server.notes) shown(note);
        shown(server.problem);
        FUZZ_CHECK(one_line(server.problem));
        if (!server.problem.empty()) {
            FUZZ_CHECK(server.problem.starts_with("f.json:"));
            continue;
        }
        FUZZ_CHECK(!server.name.empty() && server.line >= 1);
        FUZZ_CHECK((server.kind == config::ServerEntry::Kind::stdio) == !server.command.empty());
        FUZZ_CHECK((server.kind == config::ServerEntry::Kind::stdio) == server.url.empty());
        FUZZ_CHECK(server.call_timeout.count() > 0 && server.start_timeout.count() > 0);
        FUZZ_CHECK(server.max_concurrent_calls >= 1);
        FUZZ_CHECK(!server.fingerprint.empty());
        for (auto const& path : server.sandbox.allow_read) FUZZ_CHECK(path.starts_with('/'));
        for (auto const& path : server.sandbox.allow_write) FUZZ_CHECK(path.starts_with('/'));
    }
    // Merged into an empty file it is a file, with the same servers.
    std::vector<std::string> taken, skipped;
    auto const merged = config::merge_servers("", text, "f.json", taken, skipped);
    if (!merged) return 0;
    auto const again = config::parse_servers(*merged, "m.json", variables());
    FUZZ_CHECK(again.has_value());
    FUZZ_CHECK(again->servers.size() == taken.size());
    return 0;
}
