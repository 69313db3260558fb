#include "fixture.hpp"

#include <base/timeout.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

using namespace registry_test;

namespace {

base::Task<void> insert_and_count(Registry& r, std::string id, int& done) {
    auto record = workspace(std::move(id));
    auto const status = co_await r.insert_workspace(std::move(record));
    if (status) ++done;
}

// For the parent of a process that was killed: how many bytes it had acknowledged.
int acknowledged(int fd) {
    char buffer[256];
    int n = 0;
    for (ssize_t got; (got = ::read(fd, buffer, sizeof buffer)) > 0;) n += static_cast<int>(got);
    return n;
}

}  // namespace

TEST_CASE("the registry's writer") {
    SUBCASE("keeps what it acknowledged when the process is killed") {
        testing_support::TemporaryDirectory dir;
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        pid_t const child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            ::close(ends[0]);
            testing_support::Io io;
            auto r = Registry::open(io.context, dir.path).value();
            for (int i = 0;; ++i) {
                if (!io.run(r->insert_workspace(workspace("w" + std::to_string(i))))) ::_exit(1);
                if (::write(ends[1], "x", 1) != 1) ::_exit(2);
                if (i == 40) ::raise(SIGKILL);
            }
        }
        ::close(ends[1]);
        int const promised = acknowledged(ends[0]);
        ::close(ends[0]);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        testing_support::Io io;
        auto r = Registry::open(io.context, dir.path);
        REQUIRE(r.has_value());
        CHECK(static_cast<int>(io.run((*r)->workspaces()).value().size()) == promised);
    }
    SUBCASE("answers each of many requests that wait together, whether it succeeds or not") {
        World w;
        int done = 0, failed = 0;
        constexpr int kRequests = 2000;    // half of them ask for a name that is taken
        auto count = [&](Registry& r, int i) -> base::Task<void> {
            int one = 0;
            auto id = "w" + std::to_string(i / 2);
            co_await insert_and_count(r, std::move(id), one);
            ++(one ? done : failed);
        };
        for (int i = 0; i < kRequests; ++i) asio::co_spawn(w.io.context, count(*w.registry, i), asio::detached);
        while (done + failed < kRequests) w.io.run(base::sleep_for(base::milliseconds(1)));
        CHECK(done == kRequests / 2);
        CHECK(failed == kRequests / 2);
        CHECK(w.io.run(w.registry->workspaces()).value().size() == kRequests / 2);
    }
    SUBCASE("refuses what exceeds its queue, and says that it can be tried again") {
        World w;
        int busy = 0, ended = 0;
        constexpr int kRequests = 20'000;
        auto count = [&](Registry& r, int i) -> base::Task<void> {
            auto record = workspace("w" + std::to_string(i));
            auto const status = co_await r.insert_workspace(std::move(record));
            ++ended;
            if (!status && base::is(status.error(), base::errc::busy)) ++busy;
        };
        for (int i = 0; i < kRequests; ++i) asio::co_spawn(w.io.context, count(*w.registry, i), asio::detached);
        while (ended < kRequests) w.io.run(base::sleep_for(base::milliseconds(1)));
        CHECK(static_cast<int>(w.io.run(w.registry->workspaces()).value().size()) == kRequests - busy);
    }
    SUBCASE("writes what a cancelled caller asked for") {
        World w;
        asio::cancellation_signal stop;
        bool ended = false;
        base::Status status;
        auto task = [](Registry& r, base::Status& s) -> base::Task<void> {
            auto record = workspace("a");
            s = co_await r.insert_workspace(std::move(record));
        };
        asio::co_spawn(w.io.context, task(*w.registry, status),
                       asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { ended = true; }));
        w.io.context.restart();
        w.io.context.poll_one();    // the coroutine runs up to its wait
        stop.emit(asio::cancellation_type::terminal);
        while (!ended) w.io.run(base::sleep_for(base::milliseconds(1)));
        w.close();
        w.open();
        CHECK(w.io.run(w.registry->workspaces()).value().size() == 1);
    }
    SUBCASE("survives its owner going away with requests in flight") {
        testing_support::TemporaryDirectory dir;
        {
            asio::io_context context;
            auto r = Registry::open(context, dir.path).value();
            int done = 0;
            for (int i = 0; i < 50; ++i)
                asio::co_spawn(context, insert_and_count(*r, "w" + std::to_string(i), done), asio::detached);
            for (int i = 0; i < 50; ++i) context.poll_one();
            r.reset();
        }
        testing_support::Io io;
        CHECK(io.run(Registry::open(io.context, dir.path).value()->workspaces()).value().size() <= 50);
    }
    SUBCASE("refuses calls after a close, and closes twice") {
        World w;
        w.io.run(w.registry->close());
        w.io.run(w.registry->close());
        auto const status = w.io.run(w.registry->insert_workspace(workspace("a")));
        REQUIRE_FALSE(status.has_value());
        CHECK(base::is(status.error(), base::errc::unavailable));
        w.registry->touch_workspace_lazy("a", 1);
        CHECK_FALSE(std::filesystem::exists(w.file() + "-wal"));
    }
    SUBCASE("reports a full disk, changes nothing half, and goes on when there is room again") {
        World w;
        REQUIRE(ok(w.io.run(w.registry->insert_workspace(workspace("a")))));
        auto const wal = std::filesystem::file_size(w.file() + "-wal");
        // A limit on the size of files stands in for the disk.
        auto const old_handler = ::signal(SIGXFSZ, SIG_IGN);
        rlimit old{};
        ::getrlimit(RLIMIT_FSIZE, &old);
        rlimit small = old;
        small.rlim_cur = wal + 8 * 1024;
        ::setrlimit(RLIMIT_FSIZE, &small);
        auto big = workspace("b");
        big.settings = {{"big", std::string(200'000, 'x')}};
        auto const status = w.io.run(w.registry->insert_workspace(big));
        ::setrlimit(RLIMIT_FSIZE, &old);
        ::signal(SIGXFSZ, old_handler);
        REQUIRE_FALSE(status.has_value());
        CHECK(w.io.run(w.registry->workspaces()).value().size() == 1);
        CHECK(ok(w.io.run(w.registry->insert_workspace(big))));
        w.close();
        w.open();
        CHECK(w.io.run(w.registry->workspaces()).value().size() == 2);
    }
    SUBCASE("leaves nothing of a deleted workspace in its files") {
        World w;
        auto secret = workspace("a");
        secret.settings = {{"env", {{"TOKEN", "MARKER-5309"}}}};
        REQUIRE(ok(w.io.run(w.registry->insert_workspace(secret))));
        REQUIRE(ok(w.io.run(w.registry->put_processes({[] {
            auto p = process("p", "a");
            p.command = "echo MARKER-5309";
            p.tail = std::string(20'000, '.') + "MARKER-5309";
            return p;
        }()}))));
        REQUIRE(ok(w.io.run(w.registry->delete_workspace("a"))));
        w.close();
        for (auto const& entry : std::filesystem::directory_iterator(w.dir.path)) {
            int const fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
            REQUIRE(fd >= 0);
            std::string bytes(std::filesystem::file_size(entry), '\0');
            CHECK(::read(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
            ::close(fd);
            CHECK(bytes.find("MARKER-5309") == std::string::npos);
        }
    }
}
