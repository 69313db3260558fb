#include "hibernation_fixture.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <vector>

using namespace gvisor_test;

namespace {

// Children of this process, running or ended and reaped: the latter leave their page faults in our account.
struct Children {
    std::set<std::string> running;
    long reaped_faults = 0;
};

Children children() {
    Children out;
    auto const parent = " " + std::to_string(::getpid()) + " ";
    std::error_code ec;
    for (std::filesystem::directory_iterator it("/proc", ec), end; !ec && it != end; it.increment(ec)) {
        auto const text = base::read_file(it->path().string() + "/stat", 4096);
        if (!text || text->rfind(')') == text->npos) continue;
        // "...) S PPID ..."
        if (text->compare(text->rfind(')') + 3, parent.size(), parent) == 0) out.running.insert(it->path().filename());
    }
    rusage usage{};
    REQUIRE(::getrusage(RUSAGE_CHILDREN, &usage) == 0);
    out.reaped_faults = usage.ru_minflt;
    return out;
}

}  // namespace

TEST_CASE("a claim from the stock") {
    BERTH_NEEDS_GVISOR();
    TestNode node(4, 2);
    node.fill(4);

    SUBCASE("starts no process") {
        auto const volume = node.directory.path + "/volume";
        std::filesystem::create_directories(volume + "/workspace");
        std::filesystem::create_directories(volume + "/home");
        auto const boots = node.sandboxes->boots();
        auto const before = children();
        bool warm = false;
        auto one = node.take(&warm);
        REQUIRE(one->attach_volume(volume));
        REQUIRE(node.configure(*one, true));
        // One of four is gone: not yet half, so filling waits until claims have been quiet for a while.
        CHECK(warm);
        CHECK(node.sandboxes->boots() == boots);
        auto const after = children();
        CHECK(after.running == before.running);
        CHECK(after.reaped_faults == before.reaped_faults);
    }
    SUBCASE("works for frozen ones as for those awake, and the stock fills up again") {
        std::vector<std::shared_ptr<sandbox::Sandbox>> taken;
        for (int i = 0; i < 4; ++i) {
            bool warm = false;
            taken.push_back(node.take(&warm));
            CHECK(warm);
            CHECK_FALSE(taken.back()->frozen());
            CHECK(node.configure(*taken.back()));
        }
        for (auto const& one : taken) CHECK(node.output_of(*one, "echo hi") == "hi\n");
        node.io.run(node.sandboxes->wait_for_stock(4, std::chrono::seconds(50)));
        CHECK(node.stock().ready == 4);
    }
    SUBCASE("finds a shell that waits for its first command") {
        CHECK(node.eventually([&] { return node.stock().awake == 0; }));
        for (int i = 0; i < 3; ++i) {
            auto one = node.take();
            REQUIRE(node.configure(*one));
            CHECK(node.output_of(*one, "grep -q berth-ready /proc/$$/maps && echo waited") == "waited\n");
        }
    }
    SUBCASE("wakes the next ones, and they rest when no other claim comes") {
        node.drop();
        node.options.awake_for = std::chrono::milliseconds(1'500);
        node.open();
        node.io.run(node.sandboxes->sweep());
        node.fill(4);
        auto const awake = [&] { return node.stock().awake; };
        CHECK(node.eventually([&] { return awake() == 0; }));
        auto one = node.take();
        CHECK(node.eventually([&] { return awake() > 0; }));
        CHECK(node.eventually([&] { return node.stock().ready == 4 && awake() == 0; }));
    }
    SUBCASE("never meets a spare that was killed, awake or frozen: it is replaced") {
        node.drop();
        node.options.awake_for = std::chrono::minutes(10);
        node.open();
        node.io.run(node.sandboxes->sweep());
        (void)node.io.run(node.take()->destroy());
        node.fill(4);
        CHECK(node.eventually([&] { return node.stock().awake == 2; }));
        auto const before = node.sandboxes->boots();
        std::set<std::string> killed;
        for (auto const& entry : std::filesystem::directory_iterator(node.options.directory + "/slots")) {
            auto pid = base::read_file(entry.path().string() + "/sentry.pid");
            REQUIRE(pid);
            REQUIRE(::kill(std::atoi(pid->c_str()), SIGKILL) == 0);
            killed.insert(entry.path().filename());
        }
        CHECK(killed.size() == 4);
        // Those awake die at once; the frozen ones only when they would be thawed.
        CHECK(node.eventually([&] {
            return node.sandboxes->boots() == before + 2 && node.stock().ready == 4;
        }));
        for (int i = 0; i < 4; ++i) {
            auto one = node.take();
            CHECK_FALSE(killed.contains(one->slot_id()));
            CHECK(node.configure(*one));
        }
        for (auto const& id : killed)
            CHECK(node.eventually([&] { return traces(id, node.options.directory).empty(); }));
    }
}

TEST_CASE("claims on an empty stock") {
    BERTH_NEEDS_GVISOR();
    TestNode node;

    SUBCASE("are served in turn") {
        std::vector<std::shared_ptr<sandbox::Sandbox>> got;
        int failed = 0;
        for (int i = 0; i < 5; ++i) {
            auto claim = [](TestNode& n, auto& out, int& bad) -> base::Task<void> {
                auto taken = co_await n.sandboxes->take("base", kRuntime);
                if (taken) out.push_back(taken->sandbox);
                else ++bad;
            };
            asio::co_spawn(node.io.context, claim(node, got, failed), asio::detached);
        }
        CHECK(node.eventually([&] { return got.size() + static_cast<std::size_t>(failed) == 5; }));
        CHECK(failed == 0);
        std::set<std::string> ids;
        for (auto const& one : got) ids.insert(one->slot_id());
        CHECK(ids.size() == got.size());
    }
    SUBCASE("are refused beyond the limit, and served again when there is room") {
        node.drop();
        node.options.max_sandboxes = 1;
        node.open();
        auto one = node.take();
        auto refused = node.io.run(node.sandboxes->take("base", kRuntime));
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::busy));
        REQUIRE(node.io.run(one->destroy()));
        CHECK(node.take()->alive());
    }
    SUBCASE("come before blanks that hold the last place") {
        BERTH_NEEDS_MEMORY();
        node.drop();
        node.options.max_sandboxes = 1;
        node.pool() = {0, 0, 1};
        node.open();
        node.sandboxes->start_filling();
        REQUIRE(node.eventually([&] { return node.stock().blank == 1; }));
        auto one = node.take();
        CHECK(one->alive());
        CHECK(node.stock().blank == 0);
    }
    SUBCASE("learn why a boot fails, as the operator does, and nothing of it stays") {
        node.drop();
        auto const broken = node.directory.path + "/broken";
        std::filesystem::create_directories(broken);
        node.options.templates["broken"] = {"broken", broken, "x"};
        node.options.default_limits.memory_bytes = 1 << 20;      // less than any runtime needs to start
        node.options.boot_limit = std::chrono::seconds(5);
        auto const told = std::make_shared<std::vector<std::string>>();    // the node outlives this block
        node.options.on_trouble = [told](std::string const& what) { told->push_back(what); };
        node.open();
        auto taken = node.io.run(node.sandboxes->take("broken", kRuntime));
        REQUIRE_FALSE(taken);
        CHECK(node.sandboxes->boots() == 0);
        CHECK(node.sandboxes->failed_boots() == 1);
        REQUIRE_FALSE(told->empty());
        CHECK(told->back().find("template broken: ") != std::string::npos);
        CHECK(node.sandboxes->last_boot_error() == told->back());
        CHECK(std::filesystem::is_empty(node.options.directory + "/slots"));
        CHECK(node.sandboxes->running() == 0);
    }
}

// A measurement rather than a test: BERTH_MEASURE=50 asks for that many warm claims.
TEST_CASE("the time of a warm claim" * doctest::skip(std::getenv("BERTH_MEASURE") == nullptr)) {
    BERTH_NEEDS_GVISOR();
    int const claims = std::atoi(std::getenv("BERTH_MEASURE"));
    int const ready = std::getenv("BERTH_READY") ? std::atoi(std::getenv("BERTH_READY")) : 10;
    TestNode node(ready, 2);
    std::vector<double> ms;
    for (int i = 0; i < claims; ++i) {
        node.fill(ready);
        node.io.run(base::sleep_for(std::chrono::milliseconds(300)));
        auto const volume = node.directory.path + "/v" + std::to_string(i);
        std::filesystem::create_directories(volume + "/workspace");
        std::filesystem::create_directories(volume + "/home");
        auto const claim = [](TestNode& n, std::string v) -> base::Task<double> {
            auto const began = base::Clock::now();
            auto taken = co_await n.sandboxes->take("base", kRuntime);
            if (!taken || !taken->warm || !taken->sandbox->attach_volume(v)) co_return -1;
            sandbox::GuestSetup setup;
            setup.workspace_id = v;
            setup.hostname = "w";
            auto configured = co_await taken->sandbox->guest().configure(std::move(setup));
            double const took = std::chrono::duration<double, std::milli>(base::Clock::now() - began).count();
            (void)co_await taken->sandbox->destroy();
            co_return configured ? took : -1;
        };
        ms.push_back(node.io.run(claim(node, volume)));
        CHECK(ms.back() >= 0);
    }
    std::sort(ms.begin(), ms.end());
    std::cout << "take + attach_volume + configure, " << ms.size() << " warm claims: p50 " << ms[ms.size() / 2] << " ms, p95 "
              << ms[ms.size() * 95 / 100] << " ms, max " << ms.back() << " ms\n";
}
