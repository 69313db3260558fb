#pragma once
#include <base/asio.hpp>

#include <set>

namespace servers {

/// Several coroutines wait for a change that one announces. Who waits looks at the state itself, before and
/// after.
class Signal {
  public:
    explicit Signal(asio::any_io_executor executor) : executor_(std::move(executor)) {}

    void notify() {
        for (auto* timer : waiting_) timer->cancel();
    }
    /// Until the next `notify`, or `limit`. The signal must outlive its waiters.
    base::Task<void> wait(base::milliseconds limit) {
        asio::steady_timer timer(executor_, limit);
        Registered const registered(waiting_, timer);
        co_await timer.async_wait(base::as_tuple);
    }

  private:
    struct Registered {
        Registered(std::set<asio::steady_timer*>& in, asio::steady_timer& timer) : set(in), entry(&timer) {
            set.insert(entry);
        }
        ~Registered() { set.erase(entry); }
        Registered(Registered const&) = delete;
        Registered& operator=(Registered const&) = delete;
        std::set<asio::steady_timer*>& set;
        asio::steady_timer* entry;
    };

    asio::any_io_executor executor_;
    std::set<asio::steady_timer*> waiting_;
};

}  // namespace servers
