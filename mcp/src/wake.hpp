#pragma once
#include <base/asio.hpp>

#include <algorithm>

namespace mcp {

/// One coroutine waits, others wake it; a wake before the wait is not lost.
class Wake {
  public:
    explicit Wake(asio::any_io_executor executor) : timer_(std::move(executor)) {}

    void notify() {
        set_ = true;
        timer_.cancel();
    }
    /// True when woken, false when the limit passed or the waiter was cancelled (it looks at its own state to
    /// tell).
    base::Task<bool> wait(base::milliseconds limit) {
        if (!set_) {
            timer_.expires_after(std::min<base::milliseconds>(limit, std::chrono::hours(24)));
            co_await timer_.async_wait(base::as_tuple);
        }
        co_return std::exchange(set_, false);
    }

  private:
    asio::steady_timer timer_;
    bool set_ = false;
};

/// Whether the coroutine that asks was cancelled; for those that clean up instead of being unwound by an
/// exception.
inline base::Task<bool> cancelled() {
    auto const state = co_await asio::this_coro::cancellation_state;
    co_return state.cancelled() != asio::cancellation_type::none;
}

/// The handle by which a call is cancelled. It outlives the call's coroutine.
struct Running {
    asio::cancellation_signal signal;
    bool cancelled = false;
    void cancel() {
        if (std::exchange(cancelled, true)) return;
        signal.emit(asio::cancellation_type::terminal);
    }
};

}  // namespace mcp
