#include <templates.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

#include <filesystem>

TEST_CASE("templates") {
    testing_support::TemporaryDirectory dir;
    for (auto const* name : {"base/rootfs", "python/rootfs", "empty", ".replaced.1/rootfs"})
        std::filesystem::create_directories(dir.path + "/" + name);
    auto const there = host::templates_in(dir.path);

    SUBCASE("are the folders with a root file system") {
        REQUIRE(there.size() == 2);
        CHECK(there.at("python").rootfs == dir.path + "/python/rootfs");
        CHECK(host::templates_in(dir.path + "/none").empty());
    }
    auto const verdict = [&](std::string const& yaml) {
        auto const s = config::parse_settings("templates_dir: " + dir.path + "\n" + yaml, "berth.yaml");
        REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message()));
        auto const status = host::check_templates(*s, there);
        return status ? std::string("good") : status.error().message();
    };
    SUBCASE("that the settings name have to be there") {
        CHECK(verdict("default_template: python\npools: {base: {ready: 1}}\n") == "good");
        auto const none = [&](std::string const& name, std::string const& advice) {
            return "there is no template named " + name + " in " + dir.path + ", which holds base, python: " + advice;
        };
        std::string const own = "docs/config.md says at templates_dir how to make one";
        CHECK(verdict("default_template: ruby\n") == "berth.yaml:2: default_template: " + none("ruby", own));
        CHECK(verdict("pools:\n    ruby: {ready: 1}\n") == "berth.yaml:3: pools.ruby: " + none("ruby", own));
        CHECK(verdict("native: {allow: true, templates: [base, python]}\n") == "good");
        CHECK(verdict("native:\n    allow: true\n    templates: [base, ruby]\n") ==
              "berth.yaml:4: native.templates: " + none("ruby", own));
        CHECK(verdict("native: {allow: true, templates: [notebook]}\n") ==
              "berth.yaml:2: native.templates: " +
                  none("notebook", "make it with BERTH_TEMPLATES=" + dir.path + " scripts/setup-template notebook"));
    }
    SUBCASE("that berth brings are made by its script, in the directory that the settings name") {
        CHECK(host::how_to_make("base", "/srv/templates") == "make it with BERTH_TEMPLATES=/srv/templates scripts/setup-template");
        CHECK(host::how_to_make("base", "/var/lib/berth/templates") == "make it with scripts/setup-template");
    }
    SUBCASE("that only the shipped defaults name need not") {
        auto const s = config::parse_settings("", "berth.yaml");
        REQUIRE(s.has_value());
        CHECK(host::check_templates(*s, {}).has_value());
    }
}
