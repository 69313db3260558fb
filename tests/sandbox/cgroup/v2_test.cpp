#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <cgroup.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <sstream>
#include <testing/io.hpp>

// A kernel's own version 2 tree: entering, freezing and ending groups, which every such tree has, whatever controllers it holds.
// Limits need the memory, pids and cpu controllers, which a machine with version 1 keeps there: those are not shown here.
namespace {

using namespace std::chrono_literals;

std::string unified() {
    std::istringstream lines(base::read_file("/proc/self/mountinfo", 4 << 20).value());
    for (std::string line; std::getline(lines, line);) {
        if (line.find(" - cgroup2 ") == line.npos) continue;
        std::istringstream words(line);
        std::string id, parent, device, root, point;
        words >> id >> parent >> device >> root >> point;
        return point;
    }
    return "";
}

/// A group with a program that writes a dot every few milliseconds.
struct Busy {
    testing_support::TemporaryDirectory directory;
    std::string parent;
    sandbox::Cgroup group;

    explicit Busy(std::string const& tree_at) : parent(tree_at + "/berth-test-" + base::random_id(5)) {
        REQUIRE(base::sys::mkdir(parent, 0755).has_value());
        REQUIRE(base::sys::mkdir(parent + "/s1", 0755).has_value());
        sandbox::CgroupTree tree;
        tree.v2 = true;
        tree.freezer_kind = sandbox::Freezer::Kind::v2;
        tree.memory = tree.pids = tree.cpu = tree.freezer = parent;
        group = sandbox::Cgroup(tree, "s1");
    }
    ~Busy() {
        (void)group.kill_all(5s);
        (void)group.remove(1s);
        (void)base::sys::rmdir(parent);
    }
    std::string file() const { return directory.path + "/dots"; }
    std::uintmax_t written() const {
        std::error_code none;
        auto const size = std::filesystem::file_size(file(), none);
        return none ? 0 : size;
    }
    base::Launch program() const {
        base::Launch launch;
        launch.argv = {"sh", "-c", "while :; do printf . >> " + file() + "; sleep 0.005; done"};
        launch.cgroups = group.directories();
        return launch;
    }
};

template <class Condition>
base::Task<bool> within(base::milliseconds limit, Condition condition) {
    auto const end = base::Clock::now() + limit;
    while (!condition() && base::Clock::now() < end) co_await base::sleep_for(5ms);
    co_return condition();
}

}  // namespace

TEST_CASE("a group of a version 2 tree") {
    auto const at = unified();
    if (at.empty() || ::geteuid() != 0) {
        MESSAGE("skipped: no version 2 tree is mounted here, or this is not root");
        return;
    }
    testing_support::Io io;
    Busy busy(at);
    std::optional<base::Result<base::Finished>> ended;
    auto run = [](base::Launch launch, std::optional<base::Result<base::Finished>>* out) -> base::Task<void> {
        out->emplace(co_await base::run(std::move(launch), 60s));
    };
    asio::co_spawn(io.context, run(busy.program(), &ended), asio::detached);
    auto const runs = [&] { return busy.written() > 3; };
    REQUIRE(io.run(within(10s, runs)));
    CHECK_FALSE(busy.group.processes().empty());
    CHECK_FALSE(busy.group.freezer().settled().value());

    SUBCASE("stands still while it is frozen, and goes on after it") {
        REQUIRE(busy.group.freezer().freeze().has_value());
        auto const settled = [&] { return busy.group.freezer().settled().value(); };
        REQUIRE(io.run(within(5s, settled)));
        auto const then = busy.written();
        io.run(base::sleep_for(200ms));
        CHECK(busy.written() == then);
        REQUIRE(busy.group.freezer().thaw().has_value());
        auto const goes_on = [&] { return busy.written() > then; };
        CHECK(io.run(within(5s, goes_on)));
        CHECK_FALSE(busy.group.freezer().settled().value());
    }
    SUBCASE("ends though it is frozen, and goes when nothing is left in it") {
        REQUIRE(busy.group.freezer().freeze().has_value());
        CHECK(busy.group.kill_all(5s).has_value());
        CHECK(busy.group.processes().empty());
        CHECK(busy.group.remove(1s).has_value());
        CHECK_FALSE(std::filesystem::exists(busy.group.directories()[0]));
    }
    (void)busy.group.kill_all(5s);
    auto const over = [&] { return ended.has_value(); };
    CHECK(io.run(within(5s, over)));
}
