#include <base/files.hpp>
#include <base/json.hpp>
#include <config/servers.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

namespace {

config::ServerVariables any_variables() {
    config::ServerVariables variables;
    variables.environment = [](std::string const&) { return std::optional<std::string>("value"); };
    variables.file = [](std::string const&) -> base::Result<std::string> { return std::string("A=b"); };
    return variables;
}

/// What the parser makes of an entry, where a default could show.
base::Json facts(config::ServerEntry const& e) {
    auto const& box = e.sandbox;
    return {{"args", e.args}, {"env", e.env.size()}, {"headers", e.headers.size()}, {"disabled", e.disabled},
            {"isolation", static_cast<int>(e.isolation)}, {"kind", static_cast<int>(e.kind)},
            {"read", box.allow_read}, {"write", box.allow_write}, {"domains", box.allowed_domains},
            {"memory", box.memory_bytes}, {"disk", box.disk_bytes}, {"cpus", box.cpus}, {"pids", box.pids},
            {"allow", e.tools.allow ? base::Json(*e.tools.allow) : base::Json()}, {"deny", e.tools.deny}, {"rename", e.tools.rename},
            {"describe", e.tools.describe}, {"pin", e.pin_tools}, {"start", e.start_timeout.count()},
            {"call", e.call_timeout.count()}, {"idle", e.idle_timeout.count()}, {"demand", e.start_on_demand},
            {"restart", e.restart_on_exit}, {"restarts", e.max_restarts}, {"delay", e.restart_delay.count()},
            {"calls", e.max_concurrent_calls}, {"minute", e.calls_per_minute}, {"result", e.max_result_bytes},
            {"approve", e.auto_approve}};
}

base::Json read_facts(base::Json const& entry) {
    auto const text = base::dump({{"mcpServers", {{"x", entry}}}});
    auto const file = config::parse_servers(text, "x", any_variables());
    REQUIRE_MESSAGE(file.has_value(), text);
    REQUIRE(file->servers.size() == 1);
    CHECK_MESSAGE(file->servers[0].problem == "", text);
    return facts(file->servers[0]);
}

base::Json::json_pointer pointer_to(std::string key) {
    std::replace(key.begin(), key.end(), '.', '/');
    return base::Json::json_pointer("/" + key);
}

}  // namespace

// docs/servers.md gives each key of servers.json a heading, and below it meaning, unit, default and an example that is read
// here.
TEST_CASE("docs/servers.md") {
    auto const document = base::read_file(SERVERS_DOC);
    REQUIRE(document.has_value());
    SUBCASE("describes each known key with its meaning, unit, default and other names") {
        for (auto const& key : config::known_server_keys()) {
            INFO(key.key);
            auto const heading = document->find("\n### `" + key.key + "`\n");
            REQUIRE(heading != std::string::npos);
            auto const end = std::min(document->find("\n##", heading + 2), document->size());
            auto const section = document->substr(heading, end - heading);
            CHECK(section.find(key.meaning) != std::string::npos);
            CHECK(section.find("- Unit: " + key.unit + "\n") != std::string::npos);
            CHECK(section.find("- Default: `" + key.default_value + "`\n") != std::string::npos);
            if (!key.aliases.empty()) CHECK(section.find("- Also: " + key.aliases + "\n") != std::string::npos);
        }
    }
    SUBCASE("describes no key that does not exist") {
        std::set<std::string> known;
        for (auto const& key : config::known_server_keys()) known.insert("### `" + key.key + "`");
        std::istringstream lines(*document);
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with("### ")) CHECK_MESSAGE(known.contains(line), line);
    }
    SUBCASE("states the defaults that the parser has") {
        base::Json const local{{"command", "x"}}, remote{{"url", "https://mcp.example.com/mcp"}};
        std::size_t stated = 0;
        for (auto const& key : config::known_server_keys()) {
            INFO(key.key);
            auto value = base::Json::parse(key.default_value, nullptr, false);
            if (value.is_discarded()) continue;  // words such as "all", or nothing
            auto const& bare = key.key.starts_with("oauth.") || key.key == "headers" ? remote : local;
            auto entry = bare;
            entry[pointer_to(key.key)] = value;
            CHECK(read_facts(entry) == read_facts(bare));
            ++stated;
        }
        CHECK(stated > 20);
    }
    SUBCASE("gives each key an example that has it") {
        for (auto const& key : config::known_server_keys()) {
            INFO(key.key);
            auto const heading = document->find("\n### `" + key.key + "`\n");
            REQUIRE(heading != std::string::npos);
            auto const begin = document->find("```json\n", heading) + 8, end = document->find("```", begin);
            REQUIRE(end < document->find("\n##", heading + 2));
            auto const example = base::Json::parse(document->substr(begin, end - begin));
            auto const& entry = example["mcpServers"]["example"];
            bool has = entry.contains(pointer_to(key.key));
            std::istringstream aliases(key.aliases);  // `a`, `b`
            for (std::string alias; std::getline(aliases, alias, '`');)
                has |= alias.find_first_of(", ") == alias.npos && !alias.empty() && entry.contains(pointer_to(alias));
            CHECK(has);
        }
    }
    SUBCASE("gives examples that are good, one for each key") {
        auto const variables = any_variables();
        std::size_t examples = 0;
        for (std::size_t at = 0; (at = document->find("```json\n", at)) != std::string::npos;) {
            at += 8;
            auto const end = document->find("```", at);
            REQUIRE(end != std::string::npos);
            auto const text = document->substr(at, end - at);
            INFO(text);
            auto const file = config::parse_servers(text, "docs/servers.md", variables);
            REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message()));
            for (auto const& entry : file->servers) CHECK(entry.problem == "");
            ++examples;
            at = end + 3;
        }
        CHECK(examples == config::known_server_keys().size());
    }
}
