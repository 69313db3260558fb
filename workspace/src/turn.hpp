#pragma once
#include <base/asio.hpp>

#include <optional>
#include <utility>

namespace workspace {

/// One coroutine at a time, for work on one object that suspends half-way. Waiters queue in order of arrival.
/// Threads: the I/O thread.
class Turn {
  public:
    explicit Turn(asio::any_io_executor ex) : wake_(ex, asio::steady_timer::time_point::max()) {}

    class Held {
      public:
        explicit Held(Turn* turn) : turn_(turn) {}
        Held(Held&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
        Held& operator=(Held&&) = delete;
        ~Held() {
            if (!turn_) return;
            turn_->taken_ = false;
            turn_->wake_.cancel_one();
        }

      private:
        Turn* turn_;
    };

    bool is_free() const { return !taken_; }
    /// Without waiting: nothing when another has it.
    std::optional<Held> try_take() {
        if (taken_) return std::nullopt;
        taken_ = true;
        return std::optional<Held>(std::in_place, this);
    }
    base::Task<Held> take() {
        while (taken_) {
            auto [ec] = co_await wake_.async_wait(base::as_tuple);
            (void)ec;  // woken; or cancelled, and then the next co_await throws while the turn is not ours
        }
        taken_ = true;
        co_return Held(this);
    }

  private:
    bool taken_ = false;
    asio::steady_timer wake_;
};

}  // namespace workspace
