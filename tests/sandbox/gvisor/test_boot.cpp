#include "node_fixture.hpp"
#include <base/syscalls.hpp>

#include <sys/mount.h>

#include <fstream>

using namespace gvisor_test;

TEST_CASE("a sandbox") {
    BERTH_NEEDS_GVISOR();
    TestNode node;

    SUBCASE("boots when the stock is empty, and echoes") {
        bool warm = true;
        auto one = node.take(&warm);
        CHECK_FALSE(warm);
        CHECK(one->alive());
        REQUIRE(node.configure(*one));
        CHECK(node.output_of(*one, "echo hello; uname -s; hostname") == "hello\nLinux\nw1\n");
        auto usage = one->usage();
        REQUIRE(usage);
        CHECK(usage->memory_bytes > 0);
        CHECK(usage->pids > 0);
    }
    SUBCASE("writes to its own memory, never to the template") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        CHECK(node.output_of(*one, "echo x > /etc/berth-test-canary && cat /etc/berth-test-canary") == "x\n");
        CHECK_FALSE(std::filesystem::exists(std::string(kTemplate) + "/etc/berth-test-canary"));
        CHECK(node.output_of(*one, "echo x > /berth/y || echo refused").find("refused") != std::string::npos);
        CHECK(node.output_of(*one, "echo x > /berth-guest || echo refused").find("refused") != std::string::npos);
    }
    SUBCASE("shows nothing of the host: its network, environment, mounts") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        auto const seen = node.output_of(*one, "cat /proc/net/dev | tail -n +3; env; mount; ls -l /proc/self/fd");
        CHECK(seen.find("eth") == std::string::npos);
        CHECK(seen.find(node.directory.path) == std::string::npos);
        CHECK(seen.find("BERTH_GUEST") == std::string::npos);
    }
    SUBCASE("stops when it is frozen and goes on when it is thawed") {
        auto one = node.take();
        REQUIRE(node.configure(*one));
        REQUIRE(one->freeze());
        CHECK(one->frozen());
        auto waiting = base::with_timeout(
            [](std::shared_ptr<sandbox::Sandbox> s) -> base::Task<base::Result<bool>> {
                auto answered = co_await s->guest().ping();
                co_return bool(answered);
            }(one),
            std::chrono::milliseconds(200), "ping");
        auto answered = node.io.run(std::move(waiting));
        REQUIRE_FALSE(answered);
        CHECK(base::is(answered.error(), base::errc::timed_out));
        REQUIRE(one->thaw());
        CHECK(node.io.run(one->guest().ping()));
        CHECK(node.output_of(*one, "echo back") == "back\n");
    }
    SUBCASE("leaves nothing behind when it is destroyed") {
        auto one = node.take();
        auto const id = one->slot_id();
        CHECK_FALSE(traces(id, node.options.directory).empty());
        CHECK(node.sandboxes->running() == 1);
        REQUIRE(node.io.run(one->destroy()));
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
        CHECK(node.sandboxes->running() == 0);
        CHECK(one->death().reason == sandbox::Death::Reason::destroyed);
        CHECK(node.io.run(one->destroy()));
        CHECK_FALSE(one->thaw());
    }
    SUBCASE("leaves nothing behind when it is destroyed while frozen") {
        auto one = node.take();
        auto const id = one->slot_id();
        REQUIRE(one->freeze());
        REQUIRE(node.io.run(one->destroy()));
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
    }
    SUBCASE("of an unknown template is refused") {
        auto taken = node.io.run(node.sandboxes->take("nope", kRuntime));
        REQUIRE_FALSE(taken);
        CHECK(base::is(taken.error(), base::errc::not_found));
    }
}

TEST_CASE("the host template") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    node.drop();
    auto host = sandbox::make_host_template(node.options.directory);
    REQUIRE_MESSAGE(host, (host ? "" : host.error().message()));
    node.options.templates["host"] = *host;
    node.open();
    auto taken = node.io.run(node.sandboxes->take("host", kRuntime));
    REQUIRE_MESSAGE(taken, (taken ? "" : taken.error().message()));
    auto& one = *taken->sandbox;
    REQUIRE(node.configure(one));
    CHECK(node.output_of(one, "ls /usr/bin/env && echo ok").find("ok") != std::string::npos);
    CHECK(node.output_of(one, "touch /usr/berth-canary || echo refused").find("refused") != std::string::npos);
    CHECK(node.output_of(one, "ls /etc/shadow || echo absent").find("absent") != std::string::npos);
}

TEST_CASE("an operator's template with the name of the host's") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    node.drop();
    node.options.templates["host"] = {"host", kTemplate, "test"};
    node.open();
    auto taken = node.io.run(node.sandboxes->take("host", kRuntime));
    REQUIRE_MESSAGE(taken, (taken ? "" : taken.error().message()));
    auto& one = *taken->sandbox;
    REQUIRE(node.configure(one));
    CHECK(node.output_of(one, "cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/(usr|etc)' || echo none borrowed") == "none borrowed\n");
}

namespace {

/// A /proc and a file system of the host's, mounted below the root of a template.
struct MountedUpon {
    std::string const proc, other;

    explicit MountedUpon(std::string const& rootfs) : proc(rootfs + "/proc"), other(rootfs + "/mounted") {
        if (base::sys::mkdir(other, 0755)) std::ofstream(other + "/beneath") << "the template's";
        (void)base::sys::mount("proc", proc, "proc", 0);
        if (base::sys::mount("test", other, "tmpfs", 0, "mode=0755")) std::ofstream(other + "/above") << "the host's";
    }
    ~MountedUpon() {
        for (auto const& path : {proc, other}) (void)base::sys::umount(path, MNT_DETACH);
    }
};

}  // namespace

TEST_CASE("a template with something mounted below its root") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    node.drop();
    auto host = sandbox::make_host_template(node.options.directory);
    REQUIRE_MESSAGE(host, (host ? "" : host.error().message()));
    node.options.templates["host"] = *host;
    node.open();
    MountedUpon const upon(host->rootfs);
    REQUIRE(std::filesystem::exists(upon.proc + "/1"));
    REQUIRE(std::filesystem::exists(upon.other + "/above"));
    auto taken = node.io.run(node.sandboxes->take("host", kRuntime));
    REQUIRE_MESSAGE(taken, (taken ? "" : taken.error().message()));
    auto& one = *taken->sandbox;
    REQUIRE(node.configure(one));
    CHECK(node.output_of(one, "cat /proc/1/comm") == "berth-guest\n");
    // gVisor shows the tree as the host sees it, an overlay the template alone; neither lets anything be changed.
    CHECK(node.output_of(one, "ls -A /mounted") == (kRuntime == sandbox::RuntimeKind::gvisor ? "above\n" : "beneath\n"));
    node.output_of(one, "echo changed | tee /mounted/above /mounted/beneath");
    CHECK(base::read_file(upon.other + "/above").value() == "the host's");
    REQUIRE(base::sys::umount(upon.other, MNT_DETACH));
    CHECK(base::read_file(upon.other + "/beneath").value() == "the template's");
}
