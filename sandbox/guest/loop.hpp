#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

namespace guest {

std::int64_t monotonic_ms();
std::int64_t unix_ms();

/// The guest's one thread: readiness of descriptors and one-shot timers. Without a timer it sleeps until something
/// happens, so an idle sandbox costs nothing.
class Loop {
  public:
    using Handler = std::function<void(std::uint32_t events)>;
    using TimerId = std::pair<std::int64_t, std::uint64_t>;

    Loop();
    /// EPOLLHUP and EPOLLERR are reported as well, unless `events` is 0: then the descriptor rests entirely.
    bool watch(int fd, std::uint32_t events, Handler);
    void change(int fd, std::uint32_t events);
    void forget(int fd);                    ///< before the descriptor is closed; unknown ones are fine
    TimerId after(std::int64_t ms, std::function<void()>);
    void cancel(TimerId&);                  ///< and clears it; one that fired or was never set is fine
    /// Called each time before the loop waits for something to happen.
    void before_waiting(std::function<void()> action) { before_waiting_ = std::move(action); }
    [[noreturn]] void run();

  private:
    struct Watch {
        Handler handler;
        std::uint32_t events = 0;
        std::uint32_t generation = 0;       // an event already fetched must not reach the next owner of the number
    };
    bool apply(int fd, Watch&, std::uint32_t events);
    int run_timers();                       // milliseconds to the next one, -1 without

    int epoll_;
    std::function<void()> before_waiting_;
    std::uint32_t generation_ = 0;
    std::uint64_t timer_serial_ = 0;
    std::unordered_map<int, std::shared_ptr<Watch>> watches_;
    std::map<TimerId, std::function<void()>> timers_;
};

}  // namespace guest
