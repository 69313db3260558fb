#include <base/files.hpp>
#include <config/minimums.hpp>
#include <config/settings.hpp>

#include <doctest/doctest.h>

#include <set>
#include <sstream>

// docs/config.md gives each key a heading, and below it meaning, unit, default and an example that is read here.
TEST_CASE("docs/config.md") {
    auto const document = base::read_file(CONFIG_DOC);
    REQUIRE(document.has_value());

    SUBCASE("describes each known key with its meaning, unit and default") {
        for (auto const& key : config::known_keys()) {
            INFO(key.key);
            auto const heading = document->find("\n### `" + key.key + "`\n");
            REQUIRE(heading != std::string::npos);
            auto const end = std::min(document->find("\n##", heading + 2), document->size());
            auto const section = document->substr(heading, end - heading);
            CHECK(section.find(key.meaning) != std::string::npos);
            CHECK(section.find("- Unit: " + key.unit + "\n") != std::string::npos);
            CHECK(section.find("- Default: `" + key.default_value + "`\n") != std::string::npos);
        }
    }
    SUBCASE("names the least of each limit") {
        auto const least = "at least " + config::show_size(config::kMinMemoryBytes) + " of memory, " +
                           config::show_size(config::kMinDiskBytes) + " of disk, " + config::show_number(config::kMinCpus) +
                           " processors and " + std::to_string(config::kMinPids) + " processes.";
        CHECK(document->find(least) != std::string::npos);
    }
    SUBCASE("describes no key that does not exist") {
        std::set<std::string> known;
        for (auto const& key : config::known_keys()) known.insert("### `" + key.key + "`");
        std::istringstream lines(*document);
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with("### ")) CHECK_MESSAGE(known.contains(line), line);
    }
    SUBCASE("gives examples that load, one for each key") {
        std::size_t examples = 0;
        for (std::size_t at = 0; (at = document->find("```yaml\n", at)) != std::string::npos;) {
            at += 8;
            auto const end = document->find("```", at);
            REQUIRE(end != std::string::npos);
            auto const text = document->substr(at, end - at);
            INFO(text);
            auto const settings = config::parse_settings(text, "docs/config.md");
            CHECK_MESSAGE(settings.has_value(), (settings ? "" : settings.error().message()));
            ++examples;
            at = end + 3;
        }
        CHECK(examples == config::known_keys().size());
    }
}
