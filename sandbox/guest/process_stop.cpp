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

std::vector<pid_t> Processes::members(std::string const& id) const {
    auto const it = by_id_.find(id);
    return it == by_id_.end() ? std::vector<pid_t>() : tree_members(leader(*it->second), it->second->mark);
}

/// True when nobody is left. Whoever was signalled before is spared until SIGKILL; a child forked between the look and the
/// signal is met the next time.
bool Processes::signal_tree(Process& p, int signal) {
    auto members = tree_members(leader(p), p.mark);
    if (members.empty() && !p.reaped) members.push_back(p.pid);   // no descriptor left to look into /proc with
    for (pid_t const pid : members) {
        if (signal == SIGKILL) {
            ::kill(pid, SIGKILL);
        } else if (p.stop_signalled.insert(pid).second) {
            ::kill(pid, signal);
            ::kill(pid, SIGCONT);                        // a stopped process handles nothing
        }
    }
    return p.reaped && members.empty();
}

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
    p->stop_signal = signal;
    p->stop_signalled.clear();
    stop_step(p);
}

void Processes::stop_step(Ptr const& p) {
    auto const now = monotonic_ms();
    bool const given_up = now >= p->stop_give_up_at;
    if (signal_tree(*p, now >= p->stop_kill_at ? SIGKILL : p->stop_signal) || given_up) {
        p->stopping = false;
        p->stop_signalled.clear();
        // A process that SIGKILL did not end is reported as running; one just reaped is answered for when its output is.
        if (given_up)
            p->waiters.remove_if([&](Waiter const& w) {
                if (w.what != Waiter::For::gone) return false;
                answer(*p, w);
                return true;
            });
        wake(*p);
        return;
    }
    auto const wait = p->stop_kill_at > now ? std::min<std::int64_t>(p->stop_poll_ms, p->stop_kill_at - now)
                                            : p->stop_poll_ms;
    p->stop_poll_ms = std::min(p->stop_poll_ms * 2, kLastPollMs);
    p->stop_timer = loop_.after(wait, [this, weak = std::weak_ptr(p)] {
        if (auto self = weak.lock()) stop_step(self);
    });
}

}  // namespace guest
