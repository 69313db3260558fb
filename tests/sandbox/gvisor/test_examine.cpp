#include "gvisor/runsc.hpp"
#include "node_fixture.hpp"

#include <algorithm>

using namespace gvisor_test;

TEST_CASE("the date of a runsc is told from its version") {
    CHECK(sandbox::gvisor::release_date("runsc version 0.0~20240729.0\nspec: 1.0.2-dev") == 20240729);
    CHECK(sandbox::gvisor::release_date("runsc version release-20230801.0") == 20230801);
    CHECK(sandbox::gvisor::release_date("nonsense") == 0);
}

TEST_CASE("the machine's examination") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    auto const find = [](auto const& findings, std::string const& name) {
        auto it = std::find_if(findings.begin(), findings.end(), [&](auto const& f) { return f.name == name; });
        REQUIRE_MESSAGE(it != findings.end(), name);
        return *it;
    };
    SUBCASE("boots a sandbox for real") {
        auto const findings = node.io.run(sandbox::examine(node.options));
        for (char const* name : {"root", "runsc", "guest", "cgroups", "freezer", "mounts", "sandbox"}) {
            auto const one = find(findings, name);
            CHECK_MESSAGE(one.ok, name << ": " << one.detail);
        }
    }
    SUBCASE("hints at what is missing") {
        auto options = node.options;
        options.guest_binary = "/nonexistent";
        options.templates["gone"] = {"gone", "/nonexistent", ""};
        auto const findings = node.io.run(sandbox::examine(options));
        for (char const* name : {"guest", "template gone", "sandbox"}) {
            auto const one = find(findings, name);
            CHECK_FALSE(one.ok);
            CHECK_FALSE(one.hint.empty());
        }
    }
}
