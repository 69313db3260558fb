#pragma once
#include <base/asio.hpp>

namespace base {

/// Runs `op` to its end, whether or not the caller is cancelled meanwhile: for work that leaves something half made when
/// it stops in the middle. A caller that was cancelled still gets the result, and is told at its next co_await.
template <class T>
Task<T> uncancelled(Task<T> op) {
    auto const executor = co_await asio::this_coro::executor;
    auto shielded = [](Task<T> inner) -> Task<T> {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        co_return co_await std::move(inner);
    };
    auto work = shielded(std::move(op));
    co_return co_await asio::co_spawn(executor, std::move(work), asio::use_awaitable);
}

/// True when the coroutine has been asked to stop. Needs throw_if_cancelled(false), else the question itself throws.
inline Task<bool> is_cancelled() {
    auto const state = co_await asio::this_coro::cancellation_state;
    co_return state.cancelled() != asio::cancellation_type::none;
}

}  // namespace base
