#include "guest_fixture.hpp"

#include <doctest/doctest.h>

#include <sys/resource.h>

using namespace guest_test;

TEST_CASE("stop: the whole tree") {
    Fixture f;

    SUBCASE("a signal is enough for who heeds it") {
        auto s = f.spec("sleep 1000; true", milliseconds(1));
        f.start(s).value();
        auto const v = f.io.run(f.guest.stop(s.id, SIGTERM, milliseconds(20'000))).value();
        CHECK_FALSE(v.running);
        CHECK(v.reason == "killed");
        CHECK(v.signal == SIGTERM);
    }
    SUBCASE("a double-forked child that left the session and ignores signals goes as well") {
        auto s = f.spec("(setsid bash -c 'trap \"\" TERM HUP INT; echo $$; while :; do sleep 1; done' &); sleep 1000",
                        milliseconds(1));
        f.start(s).value();
        auto const text = f.read_until(s.id, "\n");
        pid_t const orphan = std::stoi(text);
        CHECK(::kill(orphan, 0) == 0);
        auto const v = f.io.run(f.guest.stop(s.id, SIGTERM, milliseconds(50))).value();
        CHECK_FALSE(v.running);
        CHECK(::kill(orphan, 0) != 0);
    }
    SUBCASE("what an ended command left behind can still be stopped") {
        auto s = f.spec("sleep 1000 & echo $!");
        auto const v = f.start(s).value();
        CHECK_FALSE(v.running);
        pid_t const left = std::stoi(v.output);
        CHECK(::kill(left, 0) == 0);
        CHECK(f.io.run(f.guest.stop(s.id, SIGTERM, milliseconds(20'000))).value().reason == "exit");
        CHECK(::kill(left, 0) != 0);
    }
    SUBCASE("another command is not touched") {
        auto a = f.spec("sleep 1000", milliseconds(1)), b = f.spec("sleep 1000", milliseconds(1));
        f.start(a).value();
        f.start(b).value();
        f.io.run(f.guest.stop(a.id, SIGKILL, milliseconds(0))).value();
        CHECK(f.io.run(f.guest.read(b.id, 0, 1, milliseconds(0))).value().running);
    }
    SUBCASE("an unknown id and an unknown signal are errors") {
        CHECK(is(f.io.run(f.guest.stop("none", SIGTERM, milliseconds(0))).error(), base::errc::not_found));
        auto s = f.spec("sleep 1000", milliseconds(1));
        f.start(s).value();
        CHECK(is(f.io.run(f.guest.stop(s.id, 99, milliseconds(0))).error(), base::errc::invalid));
    }
}

TEST_CASE("a command under another id") {
    Fixture f;
    auto s = f.spec("(setsid sleep 1000 & echo $!); cat", milliseconds(1)), other = f.spec("sleep 1000", milliseconds(1));
    s.stdin_open = true;
    f.start(s).value();
    f.start(other).value();
    auto const first = f.read_until(s.id, "\n");
    pid_t const orphan = std::stoi(first);
    CHECK(is(f.io.run(f.guest.rename({{"none", "x"}})).error(), base::errc::not_found));
    CHECK(is(f.io.run(f.guest.rename({{s.id, other.id}})).error(), base::errc::exists));
    f.io.run(f.guest.rename({{s.id, "p-new"}})).value();
    CHECK(is(f.io.run(f.guest.read(s.id, 0, 10, milliseconds(0))).error(), base::errc::not_found));
    f.io.run(f.guest.input("p-new", "two\n", false)).value();
    auto const text = f.read_until("p-new", "two");
    CHECK(text.starts_with(first));
    // Its descendants know it by the old id.
    CHECK(::kill(orphan, 0) == 0);
    auto const ended = f.io.run(f.guest.stop("p-new", SIGTERM, milliseconds(20'000))).value();
    CHECK(ended.id == "p-new");
    CHECK_FALSE(ended.running);
    CHECK(f.io.run(f.guest.read(other.id, 0, 1, milliseconds(0))).value().running);
    CHECK(::kill(orphan, 0) != 0);
}

TEST_CASE("the guest survives signals and exhaustion") {
    Fixture f;
    f.io.run(f.guest.ping()).value();
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::kill(f.process.pid, signal);
    CHECK(f.run("echo alive").output == "alive\n");

    auto s = f.spec("exit 0");
    s.env["BIG"].assign(200'000, 'x');      // more than one string of an environment may have
    auto const v = f.start(s);
    REQUIRE(v.has_error());
    CHECK(is(v.error(), base::errc::invalid));
    CHECK(f.run("echo alive").output == "alive\n");

    rlimit many{};
    REQUIRE(::prlimit(f.process.pid, RLIMIT_NOFILE, nullptr, &many) == 0);
    rlimit const few{12, many.rlim_max};
    REQUIRE(::prlimit(f.process.pid, RLIMIT_NOFILE, &few, nullptr) == 0);
    bool refused = false;
    for (int i = 0; i < 20 && !refused; ++i) {
        auto sleeper = f.spec("sleep 1000", milliseconds(1));
        auto const one = f.start(sleeper);
        refused = one.has_error() && is(one.error(), base::errc::busy) &&
                  one.error().context.find("Too many open files") != std::string::npos;
    }
    CHECK(refused);
    REQUIRE(::prlimit(f.process.pid, RLIMIT_NOFILE, &many, nullptr) == 0);
    CHECK(f.run("echo alive").output == "alive\n");
}
