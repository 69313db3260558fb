// Ending a whole tree. Processes may leave their session or ignore signals, so membership is looked up afresh at every
// step, and the answer comes when nobody is left.
#include "proc.hpp"
#include "processes.hpp"

#include <signal.h>

#include <algorithm>

namespace guest {
namespace {

constexpr std::int64_t kGiveUpMs = 5'000;       // after SIGKILL; a process in an uninterruptible call cannot be waited for
constexpr int kFirstPollMs = 5, kLastPollMs = 100;

}  // namespace

/// The session's number, unless a later command got the same pid.
pid_t Processes::leader(Process const& p) const {
    if (!p.reaped) return p.pid;
    for (auto const& [id, other] : by_id_)
        if (other.get() != &p && other->pid == p.pid && other->started_ms >= p.started_ms) return 0;
    return p.pid;
}

void Processes::signal_tree(Process& p, int signal) {
    for (pid_t const pid : tree_members(leader(p), p.id)) {
        ::kill(pid, signal);
        if (signal != SIGKILL) ::kill(pid, SIGCONT);     // a stopped process handles nothing
    }
}

bool Processes::tree_gone(Process& p) { return p.reaped && tree_members(leader(p), p.id).empty(); }

void Processes::stop(std::uint32_t request, Json const& j) {
    auto p = find(request, j);
    if (!p) return;
    int const signal = j.value("signal", SIGTERM);
    if (signal < 1 || signal > 64) return link_.fail(request, "invalid", "no such signal: " + std::to_string(signal));
    auto const grace = std::clamp<std::int64_t>(j.value("grace_ms", std::int64_t(0)), 0, 600'000);
    if (p->running && !p->reaped) p->stopped_by_us = true;
    auto const kill_at = monotonic_ms() + grace;
    p->stop_kill_at = p->stopping ? std::min(p->stop_kill_at, kill_at) : kill_at;
    p->stop_give_up_at = p->stop_kill_at + kGiveUpMs;
    p->stopping = true;
    p->stop_poll_ms = kFirstPollMs;
    loop_.cancel(p->stop_timer);
    Waiter waiter;
    waiter.what = Waiter::For::gone;
    waiter.request = request;
    p->waiters.push_back(waiter);
    signal_tree(*p, grace == 0 ? SIGKILL : signal);
    stop_step(p);
}

void Processes::stop_step(Ptr const& p) {
    auto const now = monotonic_ms();
    bool const given_up = now >= p->stop_give_up_at;
    if (given_up || tree_gone(*p)) {
        p->stopping = false;
        for (auto& waiter : p->waiters)                  // a process that SIGKILL does not end is reported as running
            if (given_up && waiter.what == Waiter::For::gone) answer(*p, waiter);
        if (given_up) p->waiters.remove_if([](Waiter const& w) { return w.what == Waiter::For::gone; });
        wake(*p);
        return;
    }
    if (now >= p->stop_kill_at) signal_tree(*p, SIGKILL);
    auto const wait = p->stop_kill_at > now ? std::min<std::int64_t>(p->stop_poll_ms, p->stop_kill_at - now)
                                            : p->stop_poll_ms;
    p->stop_poll_ms = std::min(p->stop_poll_ms * 2, kLastPollMs);
    p->stop_timer = loop_.after(wait, [this, weak = std::weak_ptr(p)] {
        if (auto self = weak.lock()) stop_step(self);
    });
}

}  // namespace guest
