#include <base/blocking.hpp>
#include <base/timeout.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <thread>

using base::errc;
using base::Result;
using base::Task;
using namespace std::chrono_literals;

namespace {

Task<Result<int>> quick(int value) { co_return value; }
Task<Result<int>> never(bool& cancelled) {
    asio::steady_timer timer(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    auto const [ec] = co_await timer.async_wait(base::as_tuple);
    cancelled = ec == asio::error::operation_aborted;
    co_return base::error(errc::cancelled, "stopped");
}
Task<Result<int>> throwing() {
    co_await base::sleep_for(1ms);
    throw std::runtime_error("broken");
}

}  // namespace

TEST_CASE("a limit") {
    testing_support::Io io;
    SUBCASE("lets a quick operation through") {
        auto const r = io.run(base::with_timeout(quick(7), 30s, "quick"));
        REQUIRE(r.has_value());
        CHECK(*r == 7);
    }
    SUBCASE("cancels the operation and reports timed_out when it does not finish") {
        bool cancelled = false;
        auto const r = io.run(base::with_timeout(never(cancelled), 20ms, "wait for nothing"));
        REQUIRE_FALSE(r.has_value());
        CHECK(is(r.error(), errc::timed_out));
        CHECK(r.error().context == "wait for nothing");
        CHECK(cancelled);
    }
    SUBCASE("passes an exception on at once") {
        CHECK_THROWS_WITH(io.run(base::with_timeout(throwing(), 30s, "throw")), "broken");
    }
    SUBCASE("ends with its caller") {
        bool cancelled = false, ended = false;
        asio::cancellation_signal stop;
        asio::co_spawn(io.context, base::with_timeout(never(cancelled), 30s, "wait"),
                       asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr, Result<int>) { ended = true; }));
        io.run(base::sleep_for(1ms));
        stop.emit(asio::cancellation_type::terminal);
        while (!ended) io.run(base::sleep_for(1ms));
        CHECK(cancelled);
    }
}

TEST_CASE("blocking work") {
    testing_support::Io io;
    SUBCASE("runs on the pool, and its caller goes on where it was") {
        auto const here = std::this_thread::get_id();
        std::thread::id there, after;
        auto task = [](base::BlockingPool& pool, std::thread::id& work_id, std::thread::id& after_id) -> Task<int> {
            auto work = [&work_id] {
                work_id = std::this_thread::get_id();
                return 5;
            };
            int const value = co_await base::blocking(pool, work);
            after_id = std::this_thread::get_id();
            co_return value;
        };
        CHECK(io.run(task(io.pool, there, after)) == 5);
        CHECK(there != here);
        CHECK(after == here);
    }
    SUBCASE("ends undisturbed when its caller is cancelled meanwhile") {
        std::atomic<bool> begun = false, go_on = false;
        std::optional<int> got;
        bool told = false, ended = false;
        auto caller = [&]() -> Task<void> {
            auto work = [&] {
                begun = true;
                while (!go_on) std::this_thread::yield();
                return 7;
            };
            got = co_await base::blocking(io.pool, work);
            try {
                co_await base::sleep_for(1ms);
            } catch (boost::system::system_error const&) {
                told = true;
            }
        };
        asio::cancellation_signal stop;
        asio::co_spawn(io.context, caller, asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { ended = true; }));
        while (!begun) io.run(base::sleep_for(1ms));
        stop.emit(asio::cancellation_type::terminal);
        io.run(base::sleep_for(5ms));
        go_on = true;
        while (!ended) io.run(base::sleep_for(1ms));
        CHECK(got == 7);
        CHECK(told);
    }
    SUBCASE("throws where it is awaited") {
        auto work = []() -> int { throw std::runtime_error("on the pool"); };
        CHECK_THROWS_WITH(io.run(base::blocking(io.pool, work)), "on the pool");
    }
}
