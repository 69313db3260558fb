#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <testing/io.hpp>
#include <testing/stale_events.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

using base::errc;
using base::Finished;
using base::Launch;
using base::Result;
using namespace std::chrono_literals;

namespace {

constexpr auto kLong = base::milliseconds(30'000);

Launch launch(std::vector<std::string> argv) {
    Launch l;
    l.argv = std::move(argv);
    return l;
}

bool alive(std::string const& pid) { return !pid.empty() && ::kill(std::stoi(pid), 0) == 0; }

}  // namespace

TEST_CASE("the launcher") {
    testing_support::Io io;
    auto const run = [&](Launch l, base::milliseconds limit = kLong, std::size_t max = 64 * 1024) {
        return io.run(base::run(std::move(l), limit, max));
    };

    SUBCASE("captures output and tells how the program ended") {
        auto const both = run(launch({"sh", "-c", "echo out; echo err >&2; exit 3"}));
        REQUIRE(both.has_value());
        CHECK(both->exit_code == 3);
        CHECK(both->out == "out\n");
        CHECK(both->err == "err\n");
        auto const signalled = run(launch({"sh", "-c", "kill -9 $$"}));
        REQUIRE(signalled.has_value());
        CHECK(signalled->exit_code == 128 + 9);
        auto const quiet = run(launch({"true"}));
        REQUIRE(quiet.has_value());
        CHECK(quiet->exit_code == 0);
    }
    SUBCASE("holds nothing up, whatever else the loop hears of") {
        std::optional<Result<Finished>> ended;
        testing_support::among_stale_events(io.context, [&] {
            asio::co_spawn(io.context, base::run(launch({"sleep", "1"}), kLong),
                           [&](std::exception_ptr, Result<Finished> finished) { ended.emplace(std::move(finished)); });
        });
        auto const begun = base::Clock::now();
        io.run(base::sleep_for(50ms));
        CHECK(base::Clock::now() - begun < 700ms);
        CHECK_FALSE(ended);
        while (!ended) io.run(base::sleep_for(10ms));
        REQUIRE(ended->has_value());
        CHECK((*ended)->exit_code == 0);
    }
    SUBCASE("starts a process that lives on, with the given descriptors") {
        auto ends = base::sys::pipe();
        REQUIRE(ends.has_value());
        auto l = launch({"sh", "-c", "echo alive; exec sleep 600"});
        l.out = ends->second.get();
        auto const pid = base::start_detached(std::move(l));
        REQUIRE(pid.has_value());
        char text[6] = {};
        CHECK(::read(ends->first.get(), text, sizeof text) == 6);
        CHECK(std::string(text, 6) == "alive\n");
        CHECK(::getsid(*pid) == *pid);
        CHECK(::kill(*pid, SIGKILL) == 0);
        CHECK(::waitpid(*pid, nullptr, 0) == *pid);
        CHECK(base::is(base::start_detached(launch({"no-such-program"})).error(), errc::unavailable));
    }
    SUBCASE("passes arguments as they are") {
        auto const r = run(launch({"printf", "%s|", "a b", "$HOME", "`id`", "*", "", "; exit 1", "\"'"}));
        REQUIRE(r.has_value());
        CHECK(r->out == "a b|$HOME|`id`|*||; exit 1|\"'|");
    }
    SUBCASE("keeps the first bytes of much output and lets the program go on") {
        auto const r = run(launch({"sh", "-c", "head -c 3000000 /dev/zero; echo done >&2"}), kLong, 1000);
        REQUIRE(r.has_value());
        CHECK(r->exit_code == 0);
        CHECK(r->out.size() == 1000);
        CHECK(r->err == "done\n");
    }
    SUBCASE("gives the program no environment, input, blocked signal or session of ours") {
        ::setenv("BERTH_TEST_SECRET", "1", 1);
        auto env = launch({"env"});
        env.env = {"ONLY=this"};
        auto const r = run(std::move(env));
        REQUIRE(r.has_value());
        CHECK(r->out.find("ONLY=this\n") != std::string::npos);
        CHECK(r->out.find("PATH=/usr/local/sbin:") != std::string::npos);
        CHECK(r->out.find("SECRET") == std::string::npos);
        auto const in = run(launch({"cat"}));
        REQUIRE(in.has_value());
        CHECK(in->out.empty());
        auto const blocked = run(launch({"grep", "SigBlk", "/proc/self/status"}));
        REQUIRE(blocked.has_value());
        CHECK(blocked->out == "SigBlk:\t0000000000000000\n");
        auto const session = run(launch({"sh", "-c", "echo $$; cut -d' ' -f6 /proc/self/stat"}));
        REQUIRE(session.has_value());
        auto const line = session->out.find('\n');
        CHECK(session->out.substr(0, line) + "\n" == session->out.substr(line + 1));
    }
    SUBCASE("uses the descriptors and the directory that it is given") {
        testing_support::TemporaryDirectory dir;
        std::ofstream(dir.path + "/in") << "given";
        auto const in = base::sys::open(dir.path + "/in", O_RDONLY);
        auto const out = base::sys::open(dir.path + "/out", O_WRONLY | O_CREAT, 0600);
        REQUIRE(in.has_value());
        REQUIRE(out.has_value());
        auto l = launch({"sh", "-c", "cat; pwd"});
        l.cwd = dir.path;
        l.in = in->get();
        l.out = out->get();
        auto const r = run(std::move(l));
        REQUIRE(r.has_value());
        CHECK(r->out.empty());
        std::ifstream written(dir.path + "/out");
        CHECK(std::string(std::istreambuf_iterator<char>(written), {}) == "given" + dir.path + "\n");
    }
    SUBCASE("says what is missing") {
        auto const none = run(launch({"no-such-program-here"}));
        REQUIRE_FALSE(none.has_value());
        CHECK(is(none.error(), errc::unavailable));
        CHECK(none.error().message() == "no-such-program-here is not installed");
        auto nowhere = launch({"true"});
        nowhere.cwd = "/no/such/directory";
        auto const cwd = run(std::move(nowhere));
        REQUIRE_FALSE(cwd.has_value());
        CHECK(cwd.error().context.find("start true") != std::string::npos);
        auto group = launch({"true"});
        group.cgroups = {"/no/such/cgroup"};
        auto const cgroup = run(std::move(group));
        REQUIRE_FALSE(cgroup.has_value());
        CHECK(cgroup.error().context.find("/no/such/cgroup/cgroup.procs") != std::string::npos);
    }
    SUBCASE("kills and reaps what exceeds its time") {
        testing_support::TemporaryDirectory dir;
        auto l = launch({"sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 1000"});
        l.cwd = dir.path;
        auto const r = run(std::move(l), 500ms);
        REQUIRE_FALSE(r.has_value());
        CHECK(is(r.error(), errc::timed_out));
        CHECK(r.error().message() == "sh did not end within 500 ms and was killed");
        std::string pid;
        std::ifstream(dir.path + "/pid") >> pid;
        CHECK_FALSE(alive(pid));
    }
    SUBCASE("kills and reaps what its caller no longer wants") {
        testing_support::TemporaryDirectory dir;
        std::string pid;
        bool cancelled = false;
        auto l = launch({"sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 1000"});
        l.cwd = dir.path;
        asio::cancellation_signal stop;
        std::optional<Result<Finished>> result;
        bool ended = false;
        asio::co_spawn(io.context, base::run(std::move(l), kLong),
                       asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, Result<Finished> r) {
                           ended = true;
                           if (!e) result = std::move(r);
                       }));
        while (!ended) {
            io.run(base::sleep_for(1ms));
            if (pid.empty()) std::ifstream(dir.path + "/pid") >> pid;
            if (pid.empty() || cancelled) continue;
            CHECK(alive(pid));
            stop.emit(asio::cancellation_type::terminal);
            cancelled = true;
        }
        CHECK_FALSE(alive(pid));
        if (result) {
            REQUIRE_FALSE(result->has_value());
            CHECK(is(result->error(), errc::cancelled));
        }
    }
    SUBCASE("does not wait for a grandchild that keeps the pipes") {
        auto const r = run(launch({"sh", "-c", "sleep 40 & echo $!"}));
        REQUIRE(r.has_value());
        CHECK(r->exit_code == 0);
        auto const pid = r->out.substr(0, r->out.find('\n'));
        CHECK(alive(pid));
        ::kill(std::stoi(pid), SIGKILL);
    }
    SUBCASE("looks programs up in the system's directories alone") {
        CHECK(base::find_program("sh").ends_with("/sh"));
        CHECK(base::find_program("no-such-program-here").empty());
        CHECK(base::find_program("/bin/sh") == "/bin/sh");
        CHECK(base::find_program("./sh").empty());
    }
}

// Boost 1.81's close_all compares a descriptor of its list with itself instead of with the
// next one, and so closes only those above its own pipe. Lower ones without O_CLOEXEC, as Asio's sockets are, are ours to close.
TEST_CASE("the launcher closes the descriptors that it was not given") {
    testing_support::Io io;
    int const null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    int const leaked = ::dup(null);    // without O_CLOEXEC, and lower than what the launcher opens
    auto const r = io.run(base::run(launch({"test", "-e", "/proc/self/fd/" + std::to_string(leaked)}), kLong));
    ::close(leaked);
    ::close(null);
    REQUIRE(r.has_value());
    CHECK(r->exit_code == 1);
}
