#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>

namespace base {

/// Runs `op` with a limit; when it passes, `op` is cancelled and the answer is errc::timed_out with `what`.
/// Boost 1.81 has no cancel_after, and `op || timer` loses an exception from `op`. T needs a default constructor.
template <class T>
Task<Result<T>> with_timeout(Task<Result<T>> op, milliseconds limit, std::string what) {
    namespace ax = asio::experimental;
    auto executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor, limit);
    auto race = ax::make_parallel_group(asio::co_spawn(executor, std::move(op), asio::deferred),
                                        timer.async_wait(asio::deferred));
    auto [order, thrown, result, timer_ec] =
        co_await race.async_wait(ax::wait_for_one(), asio::use_awaitable);
    if (order[0] == 0 && thrown) std::rethrow_exception(thrown);
    if (order[0] == 0) co_return std::move(result);
    if (timer_ec) co_return error(errc::cancelled, std::move(what));
    co_return error(errc::timed_out, std::move(what));
}

/// At least so long; returns early, and without a word, when the caller is cancelled.
inline Task<void> sleep_for(milliseconds duration) {
    asio::steady_timer timer(co_await asio::this_coro::executor, duration);
    co_await timer.async_wait(as_tuple);
}

}  // namespace base
