#include "lifecycle.hpp"

#include <doctest/doctest.h>

using servers::Lifecycle;
using servers::State;
using Answer = servers::Lifecycle::Answer;
using namespace std::chrono_literals;

namespace {

Lifecycle::Time const t0{};

config::ServerEntry entry() {
    config::ServerEntry e;
    e.name = "x";
    e.command = "y";
    return e;
}

}  // namespace

TEST_CASE("the life of a server") {
    SUBCASE("begins asleep and starts once, however many want it") {
        Lifecycle life(entry());
        CHECK(life.state() == State::asleep);
        CHECK(life.wanted(t0) == Answer::start);
        CHECK(life.wanted(t0) == Answer::wait);
        life.started(t0);
        CHECK(life.wanted(t0) == Answer::use);
        life.stopped();
        CHECK(life.state() == State::asleep);
        CHECK(life.wanted(t0) == Answer::start);
    }
    SUBCASE("backs off twice as long after each failure, with jitter, and gives up") {
        Lifecycle life(entry());
        base::milliseconds expected = 1s;
        auto now = t0;
        for (int failure = 1; failure < 5; ++failure) {
            REQUIRE(life.wanted(now) == Answer::start);
            life.start_failed(now, "exit 1", 1.0);
            CHECK(life.state() == State::backing_off);
            CHECK(life.next_try() == now + expected);
            CHECK(life.wanted(now) == Answer::refuse);
            now = life.next_try();
            expected *= 2;
        }
        REQUIRE(life.wanted(now) == Answer::start);
        life.start_failed(now, "exit 1", 0);
        CHECK(life.state() == State::failed);
        CHECK(life.reason() == "exit 1");
        CHECK(life.wanted(now + 24h) == Answer::refuse);
        life.reset();
        CHECK(life.wanted(now) == Answer::start);
    }
    SUBCASE("waits for a login, and is not started until somebody says so") {
        Lifecycle life(entry());
        REQUIRE(life.wanted(t0) == Answer::start);
        life.needs_login("it asks for a login");
        CHECK(life.state() == State::needs_login);
        CHECK(life.wanted(t0 + 24h) == Answer::refuse);
        life.stopped();
        CHECK(life.state() == State::needs_login);
        life.reset();
        CHECK(life.wanted(t0) == Answer::start);
        auto off = entry();
        off.disabled = true;
        Lifecycle disabled(off);
        disabled.needs_login("no");
        CHECK(disabled.state() == State::disabled);
    }
    SUBCASE("waits at least half of its time") {
        Lifecycle life(entry());
        REQUIRE(life.wanted(t0) == Answer::start);
        life.start_failed(t0, "no", 0.0);
        CHECK(life.next_try() == t0 + 500ms);
    }
    SUBCASE("goes on trying when nothing limits it, at most 16 times the first wait apart") {
        auto e = entry();
        e.max_restarts = 0;
        Lifecycle life(e);
        auto now = t0;
        for (int i = 0; i < 50; ++i) {
            REQUIRE(life.wanted(now) == Answer::start);
            life.start_failed(now, "no", 1.0);
            CHECK(life.next_try() - now <= 16s);
            now = life.next_try();
        }
    }
    SUBCASE("forgets failures after five good minutes") {
        Lifecycle life(entry());
        auto now = t0;
        for (int i = 0; i < 3; ++i) {
            REQUIRE(life.wanted(now) == Answer::start);
            life.start_failed(now, "no", 1.0);
            now = life.next_try();
        }
        REQUIRE(life.wanted(now) == Answer::start);
        life.started(now);
        life.died(now + 6min, "crash", 1.0);
        CHECK(life.failures() == 1);
    }
    SUBCASE("stays failed when a restart is not wanted") {
        auto e = entry();
        e.restart_on_exit = false;
        Lifecycle life(e);
        REQUIRE(life.wanted(t0) == Answer::start);
        life.started(t0);
        life.died(t0, "crash", 0);
        CHECK(life.state() == State::failed);
    }
    SUBCASE("is degraded while a part of it does not work") {
        Lifecycle life(entry());
        REQUIRE(life.wanted(t0) == Answer::start);
        life.started(t0, "resources/list: no");
        CHECK(life.state() == State::degraded);
        CHECK(life.wanted(t0) == Answer::use);
        life.degraded("");
        CHECK(life.state() == State::ready);
    }
    SUBCASE("never begins for what is off or wrong") {
        auto off = entry(), wrong = entry();
        off.disabled = true;
        wrong.problem = "servers.json:3: x.args: expected a list";
        for (auto const& e : {off, wrong}) {
            Lifecycle life(e);
            CHECK(life.wanted(t0) == Answer::refuse);
            life.reset();
            CHECK(life.wanted(t0) == Answer::refuse);
            CHECK_FALSE(life.reason().empty());
        }
        CHECK(Lifecycle(off).state() == State::disabled);
        CHECK(Lifecycle(wrong).state() == State::misconfigured);
    }
}
