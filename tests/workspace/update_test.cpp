// Settings of workspaces, changed while they run, sleep or are stopped.
#include "world.hpp"

using base::Result;
using base::Task;
using namespace life_test;

namespace {

struct Changed : World {
    Changed() { create(); }

    Result<View> update(UpdateRequest request) {
        return io.run(workspaces->update(kOwner, id, std::move(request)));
    }
    Result<View> allow(std::vector<std::string> hosts) {
        UpdateRequest request;
        request.allow = std::move(hosts);
        return update(std::move(request));
    }
    Result<View> memory(std::uint64_t bytes) {
        UpdateRequest request;
        request.memory_bytes = bytes;
        return update(std::move(request));
    }
    Result<sandbox::ProcessView> run(std::string command) {
        auto lease = awake();
        REQUIRE_MESSAGE(lease, (lease ? "" : lease.error().message()));
        sandbox::ProcessSpec spec;
        spec.id = "p-" + base::random_id(8);
        spec.command = std::move(command);
        spec.wait = std::chrono::seconds(30);
        return io.run(lease->guest().start(std::move(spec)));
    }
    /// What a new command finds in its environment.
    std::string hosts() { return run("echo \"$BERTH_EGRESS $http_proxy\"").value().output; }
    void shows(std::string const& expected) {
        CHECK(hosts() == (expected.empty() ? " \n" : expected + " http://127.0.0.1:3128\n"));
    }
    /// Has it use more than any limit here, and hears which one ended it.
    std::string ends_at() {
        (void)run("exec python3 -c 'x = b\"x\" * (900 << 20)'");
        REQUIRE(eventually([&] { return !view().last_error.empty(); }));
        return view().last_error;
    }
};

}  // namespace

TEST_CASE("the limits of a workspace") {
    BERTH_NEEDS_MEMORY();
    Changed w;

    SUBCASE("change while it runs, and hold for what runs") {
        w.count();
        UpdateRequest request;
        request.memory_bytes = 200 << 20;
        request.cpus = 1.5;
        auto const changed = w.update(request);
        REQUIRE_MESSAGE(changed, (changed ? "" : changed.error().message()));
        CHECK(changed->limits.memory_bytes == 200 << 20);
        CHECK(changed->limits.cpus == 1.5);
        w.count();
        CHECK(w.ends_at().find("its limit is 200 MiB") != std::string::npos);
    }
    SUBCASE("are those of the next server, too") {
        REQUIRE(w.memory(200 << 20));
        w.crash();
        CHECK(w.view().limits.memory_bytes == 200 << 20);
        w.count();
        CHECK(w.ends_at().find("its limit is 200 MiB") != std::string::npos);
    }
    SUBCASE("change while it sleeps, which goes on, and hold when it wakes") {
        w.count();
        REQUIRE(w.hibernate());
        REQUIRE(w.memory(300 << 20));
        CHECK(w.view().state == "hibernated");
        CHECK(w.count().way == Arrival::Way::woken);
        CHECK(w.ends_at().find("its limit is 300 MiB") != std::string::npos);
    }
    SUBCASE("change while it is stopped, down as well as up") {
        REQUIRE(w.hibernate(true));
        UpdateRequest request;
        request.memory_bytes = 200 << 20;
        request.pids = 100;
        auto const changed = w.update(request);
        REQUIRE_MESSAGE(changed, (changed ? "" : changed.error().message()));
        CHECK(w.view().state == "stopped");
        CHECK(w.run("ulimit -u").value().output == "100\n");
        CHECK(w.ends_at().find("its limit is 200 MiB") != std::string::npos);
    }
    SUBCASE("do not go below what is in use: it would be ended for that") {
        w.start_counter("p-other");
        REQUIRE(w.run("python3 -c 'import time; x = b\"x\" * (150 << 20); time.sleep(60)' & sleep 3"));
        auto const refused = w.memory(100 << 20);
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::limit));
        CHECK(refused.error().message().find("in use") != std::string::npos);
        REQUIRE(w.hibernate());
        CHECK_FALSE(w.memory(100 << 20));
        CHECK(w.count().way == Arrival::Way::woken);
    }
    SUBCASE("of processes are lowered only when none is left that began with more") {
        UpdateRequest request;
        request.pids = 100;
        auto const refused = w.update(request);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().message().find("only for a stopped workspace") != std::string::npos);
        request.pids = w.view().limits.pids + 100;
        CHECK(w.update(request));
        CHECK(w.run("ulimit -u").value().output == std::to_string(*request.pids) + "\n");
    }
    SUBCASE("are not beyond the operator's, and all of a request is refused with one of it") {
        auto const before = w.view();
        UpdateRequest request;
        request.cpus = 1;
        request.keep_alive = true;
        request.memory_bytes = w.settings.max_limits.memory_bytes + 1;
        auto const refused = w.update(request);
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::invalid));
        CHECK(w.view().limits == before.limits);
        CHECK_FALSE(w.view().idle.keep_alive);
        // What stays is not looked at again: the operator's own may have changed since.
        w.settings.max_limits.memory_bytes = 64 << 20;
        UpdateRequest idle;
        idle.keep_alive = true;
        CHECK(w.update(idle));
        CHECK(w.view().idle.keep_alive);
    }
    SUBCASE("are their owner's to change") {
        UpdateRequest const request;
        auto const refused = w.io.run(w.workspaces->update("mallory", w.id, request));
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::not_found));
    }
}

TEST_CASE("the hosts that a workspace may reach") {
    BERTH_NEEDS_MEMORY();
    Changed w;
    w.shows("");
    REQUIRE(w.allow({"example.com", "*.example.org"}));

    SUBCASE("change for what begins from now on, and back to none") {
        w.shows("example.com,*.example.org");
        REQUIRE(w.allow({"example.net"}));
        w.shows("example.net");
        REQUIRE(w.allow({}));
        w.shows("");
        CHECK(w.view().allow.empty());
    }
    SUBCASE("stay over sleep and wake, and over a restart of the server") {
        w.count();
        REQUIRE(w.hibernate());
        w.shows("example.com,*.example.org");
        w.crash();
        w.shows("example.com,*.example.org");
        CHECK(w.view().allow == std::vector<std::string>{"example.com", "*.example.org"});
        w.count();
    }
    SUBCASE("change in one that sleeps, and in one that is frozen") {
        REQUIRE(w.hibernate());
        REQUIRE(w.allow({"example.net"}));
        CHECK(w.view().state == "hibernated");
        w.shows("example.net");
        w.settings.idle.freeze_after = std::chrono::milliseconds(100);
        UpdateRequest soon;
        soon.freeze_after = std::chrono::milliseconds(100);
        REQUIRE(w.update(soon));
        REQUIRE(w.io.run(w.awake()->guest().stop(w.counter, 9, std::chrono::milliseconds(0))));
        w.workspaces->start_idle_policy();
        REQUIRE(w.eventually([&] { return w.view().state == "frozen"; }));
        REQUIRE(w.allow({"example.com"}));
        w.shows("example.com");
    }
    SUBCASE("are within the operator's list") {
        w.settings.network.max_allow = {"*.example.com"};
        auto const refused = w.allow({"evil.example"});
        REQUIRE_FALSE(refused);
        CHECK(base::is(refused.error(), base::errc::denied));
        CHECK(base::is(w.allow({"not a host"}).error(), base::errc::invalid));
        w.shows("example.com,*.example.org");
        CHECK(w.allow({"a.example.com"}));
    }
}

TEST_CASE("settings and a server that dies") {
    BERTH_NEEDS_MEMORY();
    Changed w;
    UpdateRequest request;
    request.allow = std::vector<std::string>{"example.com"};
    request.memory_bytes = 300 << 20;
    request.hibernate_after = std::chrono::milliseconds(77'000);
    auto const unchanged = [&] {
        CHECK(w.view().allow.empty());
        CHECK(w.view().limits.memory_bytes != 300 << 20);
        CHECK(w.view().idle.hibernate_after.count() != 77'000);
        w.shows("");
    };

    SUBCASE("a record that is not written changes nothing") {
        w.steps.dead = {"registry: running"};
        CHECK_FALSE(w.update(request));
        w.steps = {};
        unchanged();
    }
    SUBCASE("a record that was not confirmed in time is taken back") {
        w.steps.late = {"registry: running"};
        auto const failed = w.update(request);
        REQUIRE_FALSE(failed);
        CHECK(failed.error().message().find("nothing was changed") != std::string::npos);
        unchanged();
        w.crash();
        unchanged();
    }
    SUBCASE("what was recorded and not applied is applied by the next one") {
        auto all = w.io.run(w.records->workspaces()).value();
        REQUIRE(all.size() == 1);
        all[0].settings["allow"] = base::Json::array({"example.com", "example.org"});
        all[0].settings["memory_bytes"] = 200 << 20;
        REQUIRE(w.io.run(w.records->update_workspace(all[0])));
        w.crash();
        w.shows("example.com,example.org");
        w.count();
        CHECK(w.ends_at().find("its limit is 200 MiB") != std::string::npos);
    }
}

TEST_CASE("times without use, changed") {
    BERTH_NEEDS_MEMORY();
    Changed w;
    UpdateRequest request;
    request.hibernate_after = std::chrono::milliseconds(300);
    request.keep_alive = true;
    REQUIRE(w.update(request));
    w.workspaces->start_idle_policy();
    w.io.run(base::sleep_for(std::chrono::milliseconds(1'500)));
    CHECK(w.workspaces->life_counts().hibernated == 0);
    request.keep_alive = false;
    auto const changed = w.update(request);
    REQUIRE(changed);
    CHECK(changed->idle.hibernate_after.count() == 300);
    CHECK(w.eventually([&] { return w.view().state == "hibernated"; }));
}
