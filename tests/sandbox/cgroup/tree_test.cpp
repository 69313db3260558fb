#include <base/files.hpp>
#include <base/hash.hpp>
#include <cgroup.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <testing/io.hpp>

// What is written to which file of a version 2 tree, and read from it. The tree is made of ordinary files: it shows neither that
// the kernel takes what is written nor that it holds anyone to it. What a kernel here can show is in v2_test.cpp.
namespace {

using sandbox::Cgroup;
using sandbox::CgroupTree;
using sandbox::Freezer;
using sandbox::Limits;

constexpr char kData[] = "/data/sandboxes";

struct Faked {
    testing_support::TemporaryDirectory directory;
    std::string root = directory.path + "/unified";
    std::string group = root + "/berth-" + base::sha256_hex(kData).substr(0, 12);

    Faked() {
        std::filesystem::create_directories(group + "/s1");
        write(root + "/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
        for (auto const& at : {root, group}) write(at + "/cgroup.subtree_control", "");
        for (char const* name : {"memory.max", "memory.oom.group", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight", "cgroup.freeze"})
            write(group + "/s1/" + name, "");
        write(group + "/s1/cgroup.events", "populated 1\nfrozen 0\n");
    }
    static void write(std::string const& path, std::string const& text) { std::ofstream(path, std::ios::trunc) << text; }
    static std::string read(std::string const& path) { return base::read_file(path, 4096).value(); }
    std::string knob(char const* name) const { return read(group + "/s1/" + name); }
    std::string mountinfo(std::string const& more = "") const {
        return "22 1 0:20 / /proc rw - proc proc rw\n" + more + "36 25 0:31 / " + root + " rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    }
    base::Result<CgroupTree> prepare() const { return CgroupTree::prepare_in(mountinfo(), kData); }
};

}  // namespace

TEST_CASE("a machine with one version 2 tree") {
    Faked machine;
    SUBCASE("has the controllers enabled at the root and for the sandboxes' groups") {
        auto const tree = machine.prepare();
        REQUIRE(tree.has_value());
        CHECK(tree->v2);
        CHECK(tree->freezer_kind == Freezer::Kind::v2);
        CHECK(tree->parents() == std::vector<std::string>{machine.group});
        CHECK(tree->children() == std::set<std::string>{"s1"});
        for (auto const& at : {machine.root, machine.group}) CHECK(Faked::read(at + "/cgroup.subtree_control") == "+memory +pids +cpu");
    }
    SUBCASE("is left as it is where they are enabled already") {
        Faked::write(machine.root + "/cgroup.subtree_control", "cpuset cpu memory pids\n");
        REQUIRE(machine.prepare().has_value());
        CHECK(Faked::read(machine.root + "/cgroup.subtree_control") == "cpuset cpu memory pids\n");
    }
    SUBCASE("gets those that are missing, though others are enabled") {
        Faked::write(machine.root + "/cgroup.subtree_control", "cpu io\n");
        REQUIRE(machine.prepare().has_value());
        CHECK(Faked::read(machine.root + "/cgroup.subtree_control").starts_with("+memory +pids +cpu"));
    }
    SUBCASE("is refused where a controller is held by version 1, with the names of what is needed") {
        Faked::write(machine.root + "/cgroup.controllers", "hugetlb cpu memory\n");
        auto const tree = machine.prepare();
        REQUIRE_FALSE(tree.has_value());
        CHECK(base::is(tree.error(), base::errc::unavailable));
        CHECK(tree.error().message().find("memory, pids and cpu") != std::string::npos);
    }
    SUBCASE("says what is likely wrong when they cannot be enabled") {
        std::filesystem::remove(machine.root + "/cgroup.subtree_control");
        auto const tree = machine.prepare();
        REQUIRE_FALSE(tree.has_value());
        CHECK(tree.error().message().find("inside a container the root group must hold no process") != std::string::npos);
        CHECK(tree.error().message().find("cgroup.subtree_control") != std::string::npos);
    }
    SUBCASE("is no machine without any tree") {
        auto const tree = CgroupTree::prepare_in("22 1 0:20 / /proc rw - proc proc rw\n", kData);
        REQUIRE_FALSE(tree.has_value());
        CHECK(base::is(tree.error(), base::errc::unavailable));
    }
}

TEST_CASE("version 1 with an empty version 2 tree beside it") {
    Faked machine;
    auto const v1 = machine.directory.path + "/v1";
    auto const line = [&](std::string const& name) { return "30 25 0:26 / " + v1 + "/" + name + " rw - cgroup cgroup rw," + name + "\n"; };
    for (char const* name : {"memory", "pids", "freezer"}) std::filesystem::create_directories(v1 + "/" + name);
    SUBCASE("freezes with version 1 where that has a freezer") {
        auto const tree = CgroupTree::prepare_in(machine.mountinfo(line("memory") + line("pids") + line("freezer")), kData);
        REQUIRE(tree.has_value());
        CHECK_FALSE(tree->v2);
        CHECK(tree->freezer_kind == Freezer::Kind::v1);
        CHECK(tree->parents().size() == 3);
    }
    SUBCASE("freezes with version 2 where it has none, and enables nothing there") {
        auto const tree = CgroupTree::prepare_in(machine.mountinfo(line("memory") + line("pids")), kData);
        REQUIRE(tree.has_value());
        CHECK_FALSE(tree->v2);
        CHECK(tree->freezer == machine.group);
        CHECK(tree->freezer_kind == Freezer::Kind::v2);
        CHECK(Faked::read(machine.root + "/cgroup.subtree_control").empty());
    }
}

TEST_CASE("a sandbox's group of version 2") {
    Faked machine;
    auto const tree = machine.prepare();
    REQUIRE(tree.has_value());
    Cgroup const group(*tree, "s1");
    CHECK(group.directories() == std::vector<std::string>{machine.group + "/s1"});

    SUBCASE("has its limits in the kernel's units, and ends as a whole when memory runs out") {
        REQUIRE(group.create({512ull << 20, 1.5, 300}).has_value());
        CHECK(machine.knob("memory.max") == "536870912");
        CHECK(machine.knob("memory.oom.group") == "1");
        CHECK(machine.knob("memory.swap.max") == "0");
        CHECK(machine.knob("pids.max") == "300");
        CHECK(machine.knob("cpu.max") == "150000 100000");
        auto const event = group.oom_event();
        REQUIRE(event.has_value());
        CHECK_FALSE(bool(*event));
    }
    SUBCASE("has no quota below what the kernel takes") {
        REQUIRE(group.set(Limits{512ull << 20, 0.001, 300}).has_value());
        CHECK(machine.knob("cpu.max") == "1000 100000");
    }
    SUBCASE("does without a limit on swap where there is no swap") {
        std::filesystem::remove(machine.group + "/s1/memory.swap.max");
        CHECK(group.create({}).has_value());
        CHECK_FALSE(std::filesystem::exists(machine.group + "/s1/memory.swap.max"));
    }
    SUBCASE("is no group without a limit on memory, processes or processors") {
        for (char const* name : {"memory.max", "memory.oom.group", "pids.max", "cpu.max"}) {
            Faked other;
            auto const there = other.prepare();
            REQUIRE(there.has_value());
            std::filesystem::remove(other.group + "/s1/" + name);
            auto const made = Cgroup(*there, "s1").create({});
            REQUIRE_FALSE(made.has_value());
            CHECK(made.error().message().find(name) != std::string::npos);
        }
    }
    SUBCASE("waits for others while it boots, and then does not") {
        group.set(sandbox::Pace::background);
        CHECK(machine.knob("cpu.weight") == "6");
        group.set(sandbox::Pace::normal);
        CHECK(machine.knob("cpu.weight") == "100");
    }
    SUBCASE("tells what it uses") {
        Faked::write(machine.group + "/s1/memory.current", "123456789\n");
        Faked::write(machine.group + "/s1/pids.current", "42\n");
        Faked::write(machine.group + "/s1/cpu.stat", "usage_usec 7654321\nuser_usec 7000000\nsystem_usec 654321\n");
        auto const usage = group.usage();
        REQUIRE(usage.has_value());
        CHECK(usage->memory_bytes == 123456789);
        CHECK(usage->pids == 42);
        CHECK(usage->cpu_ms == 7654);
    }
    SUBCASE("tells kills for want of memory from its other words, and refused processes") {
        CHECK(group.oom_kills() == 0);
        Faked::write(machine.group + "/s1/memory.events", "low 0\nhigh 0\nmax 31\noom 4\noom_kill 2\noom_group_kill 1\n");
        Faked::write(machine.group + "/s1/pids.events", "max 17\n");
        CHECK(group.oom_kills() == 2);
        CHECK(group.refused_processes() == 17);
    }
    SUBCASE("is frozen once the kernel says so, not when it was asked") {
        REQUIRE(group.freezer().freeze().has_value());
        CHECK(machine.knob("cgroup.freeze") == "1");
        CHECK_FALSE(group.freezer().settled().value());
        Faked::write(machine.group + "/s1/cgroup.events", "populated 1\nfrozen 1\n");
        CHECK(group.freezer().settled().value());
        REQUIRE(group.freezer().thaw().has_value());
        CHECK(machine.knob("cgroup.freeze") == "0");
    }
}
