#include "loop.hpp"

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace guest {
namespace {

std::int64_t clock_ms(clockid_t clock) {
    timespec t{};
    ::clock_gettime(clock, &t);
    return std::int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

}  // namespace

std::int64_t monotonic_ms() { return clock_ms(CLOCK_MONOTONIC); }
std::int64_t unix_ms() { return clock_ms(CLOCK_REALTIME); }

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) std::abort();
}

bool Loop::apply(int fd, Watch& watch, std::uint32_t events) {
    if (events == watch.events) return true;
    epoll_event event{};
    event.events = events;
    event.data.u64 = std::uint64_t(watch.generation) << 32 | static_cast<std::uint32_t>(fd);
    int const op = events == 0 ? EPOLL_CTL_DEL : watch.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(epoll_, op, fd, &event) != 0) return false;
    watch.events = events;
    return true;
}

bool Loop::watch(int fd, std::uint32_t events, Handler handler) {
    forget(fd);
    auto watch = std::make_shared<Watch>();
    watch->handler = std::move(handler);
    watch->generation = ++generation_;
    if (!apply(fd, *watch, events)) return false;
    watches_[fd] = std::move(watch);
    return true;
}

void Loop::change(int fd, std::uint32_t events) {
    if (auto it = watches_.find(fd); it != watches_.end()) apply(fd, *it->second, events);
}

void Loop::forget(int fd) {
    auto it = watches_.find(fd);
    if (it == watches_.end()) return;
    apply(fd, *it->second, 0);
    watches_.erase(it);
}

Loop::TimerId Loop::after(std::int64_t ms, std::function<void()> action) {
    TimerId id{monotonic_ms() + std::max<std::int64_t>(ms, 0), ++timer_serial_};
    timers_.emplace(id, std::move(action));
    return id;
}

void Loop::cancel(TimerId& id) {
    timers_.erase(id);
    id = {};
}

int Loop::run_timers() {
    while (!timers_.empty()) {
        auto const first = timers_.begin();
        std::int64_t const left = first->first.first - monotonic_ms();
        if (left > 0) return static_cast<int>(std::min<std::int64_t>(left, 3'600'000));
        auto action = std::move(first->second);
        timers_.erase(first);
        action();
    }
    return -1;
}

void Loop::run() {
    epoll_event events[64];
    for (;;) {
        int const limit = run_timers();
        if (before_waiting_) before_waiting_();
        int const n = ::epoll_wait(epoll_, events, 64, limit);
        if (n < 0 && errno != EINTR) std::abort();
        for (int i = 0; i < n; ++i) {
            auto const it = watches_.find(static_cast<int>(events[i].data.u64 & 0xffff'ffff));
            if (it == watches_.end() || it->second->generation != events[i].data.u64 >> 32) continue;
            auto const keep = it->second;   // the handler may forget its own descriptor
            keep->handler(events[i].events);
        }
    }
}

}  // namespace guest
