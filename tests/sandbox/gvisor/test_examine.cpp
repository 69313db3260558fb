#include "gvisor/runsc.hpp"
#include "node_fixture.hpp"

#include <base/files.hpp>

#include <algorithm>

using namespace gvisor_test;

TEST_CASE("the date of a runsc is told from its version") {
    CHECK(sandbox::gvisor::release_date("runsc version 0.0~20240729.0\nspec: 1.0.2-dev") == 20240729);
    CHECK(sandbox::gvisor::release_date("runsc version release-20230801.0") == 20230801);
    CHECK(sandbox::gvisor::release_date("nonsense") == 0);
}

TEST_CASE("a runsc that is too old is refused in one line") {
    testing_support::TemporaryDirectory directory;
    auto const known = directory.path + "/known";
    auto const check = [&](std::string const& version) {
        sandbox::gvisor::Runsc runsc;
        runsc.program = directory.path + "/runsc";
        runsc.build = version;
        base::replace_file(runsc.program, "#!/bin/sh\necho 'runsc version " + version + "'\necho 'spec: 1.0.2'\n", 0755).value();
        return sandbox::gvisor::check_release(runsc, known);
    };
    auto const old = check("0.0~20221219.0");
    REQUIRE_FALSE(old);
    CHECK(base::is(old.error(), base::errc::unavailable));
    auto const said = old.error().message();
    for (char const* part : {"runsc version 0.0~20221219.0", "20230801 or newer", "bookworm-backports", "scripts/setup"})
        CHECK_MESSAGE(said.find(part) != said.npos, said);
    CHECK(said.find('\n') == said.npos);
    CHECK_FALSE(base::read_file(known, 256));

    CHECK(check("release-20240729.0"));
    CHECK(check("VERSION_MISSING"));
    // Asked once for each build.
    sandbox::gvisor::Runsc runsc;
    runsc.program = "/nonexistent";
    runsc.build = "VERSION_MISSING";
    CHECK(sandbox::gvisor::check_release(runsc, known));
    runsc.build = "another";
    CHECK_FALSE(sandbox::gvisor::check_release(runsc, known));
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
