#include <base/files.hpp>
#include <config/servers.hpp>

#include <doctest/doctest.h>

#include <set>
#include <sstream>

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
    SUBCASE("gives examples that are good, one for each key") {
        config::ServerVariables variables;
        variables.environment = [](std::string const&) { return std::optional<std::string>("value"); };
        variables.file = [](std::string const&) -> base::Result<std::string> { return std::string("A=b"); };
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
