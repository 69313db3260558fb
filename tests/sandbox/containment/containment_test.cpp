// What is possible inside, and what can be seen there, against a stored answer for each runtime: an answer that changes is a
// change of the boundary, to be looked at before it is stored (BERTH_STORE_ANSWERS=1).
#include <gvisor/runsc.hpp>
#include <hibernation_fixture.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace gvisor_test;

namespace {

// gVisor's kernel is a program's, and answers as that release does.
std::string variant() {
    if (kRuntime == sandbox::RuntimeKind::native) return "native";
    testing_support::Io io;
    base::Launch launch;
    launch.argv = {"runsc", "--version"};
    auto const finished = io.run(base::run(std::move(launch), std::chrono::seconds(20)));
    REQUIRE(finished);
    return "gvisor-" + std::to_string(sandbox::gvisor::release_date(finished->out));
}

std::string answer_path(std::string const& name) {
    return std::string(BERTH_ANSWERS) + "/" + name + "." + variant() + ".txt";
}

// Line by line, so that a difference names itself.
void compare(std::string const& name, std::string const& found) {
    if (std::getenv("BERTH_STORE_ANSWERS")) std::ofstream(answer_path(name)) << found;
    auto const stored = base::read_file(answer_path(name));
    if (!stored && kRuntime == sandbox::RuntimeKind::gvisor) {
        MESSAGE("SKIPPED: there is no stored answer of this runsc: " << answer_path(name));
        return;
    }
    REQUIRE_MESSAGE(stored, answer_path(name));
    std::istringstream a(*stored), b(found);
    std::string expected, seen;
    for (bool more = true; more;) {
        bool const left = bool(std::getline(a, expected)), right = bool(std::getline(b, seen));
        more = left && right;
        if (more) CHECK(seen == expected);
        else {
            CHECK_MESSAGE(!left, "missing: " << expected);
            CHECK_MESSAGE(!right, "more than stored: " << seen);
        }
    }
}

struct Inside {
    TestNode node;
    std::shared_ptr<sandbox::Sandbox> one;

    Inside() {
        auto const volume = node.directory.path + "/volume";
        std::filesystem::create_directories(volume + "/home");
        std::filesystem::create_directories(volume + "/workspace");
        std::filesystem::copy_file(BERTH_ACTS, volume + "/workspace/acts");
        std::filesystem::copy_file(std::string(BERTH_ANSWERS) + "/probe.py", volume + "/workspace/probe.py");
        one = node.take();
        REQUIRE(one->attach_volume(volume));
        REQUIRE(node.configure(*one, true));
    }
};

}  // namespace

TEST_CASE("what sandboxed code tries and how it ends") {
    BERTH_NEEDS_GVISOR();
    Inside inside;
    compare("acts", inside.node.output_of(*inside.one, "/workspace/acts"));
    // None of it has done harm.
    CHECK(inside.node.output_of(*inside.one, "echo unharmed") == "unharmed\n");
}

TEST_CASE("what sandboxed code sees") {
    BERTH_NEEDS_GVISOR();
    Inside inside;
    auto const seen = inside.node.output_of(*inside.one, "python3 /workspace/probe.py 2>&1");
    CHECK(seen.find(inside.node.directory.path) == seen.npos);
    compare("probe", seen);
}

TEST_CASE("a sandbox that slept is no wider than one that did not") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    std::filesystem::copy_file(BERTH_ACTS, node.volume() + "/workspace/acts");
    std::filesystem::copy_file(std::string(BERTH_ANSWERS) + "/probe.py", node.volume() + "/workspace/probe.py");
    auto one = node.fresh();
    one = node.wake(node.sleep(*one));
    auto const seen = node.output_of(*one, "python3 /workspace/probe.py 2>&1");
    CHECK(seen.find(node.directory.path) == seen.npos);
    compare("probe", seen);
    compare("acts", node.output_of(*one, "/workspace/acts"));
}
