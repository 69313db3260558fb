#include "lifecycle.hpp"

#include <algorithm>

namespace servers {
namespace {

// A server that ran this long counts as having started well (1mcp resets after the same time).
constexpr base::milliseconds kStable{300'000};

}  // namespace

char const* to_string(State state) {
    switch (state) {
        case State::disabled:
            return "disabled";
        case State::misconfigured:
            return "misconfigured";
        case State::asleep:
            return "asleep";
        case State::starting:
            return "starting";
        case State::ready:
            return "ready";
        case State::degraded:
            return "degraded";
        case State::backing_off:
            return "backing_off";
        case State::failed:
            return "failed";
        case State::needs_login:
            return "needs_login";
    }
    return "";
}

Lifecycle::Lifecycle(config::ServerEntry const& entry)
    : restart_(entry.restart_on_exit), max_restarts_(entry.max_restarts), delay_(entry.restart_delay) {
    if (!entry.problem.empty()) {
        state_ = rest_ = State::misconfigured;
        reason_ = entry.problem;
    } else if (entry.disabled) {
        state_ = rest_ = State::disabled;
        reason_ = "disabled in the configuration";
    }
}

Lifecycle::Answer Lifecycle::wanted(Time now) {
    switch (state_) {
        case State::ready:
        case State::degraded:
            return Answer::use;
        case State::starting:
            return Answer::wait;
        case State::backing_off:
            if (now < next_try_) return Answer::refuse;
            [[fallthrough]];
        case State::asleep:
            state_ = State::starting;
            reason_ = "starting";
            return Answer::start;
        default:
            return Answer::refuse;
    }
}

void Lifecycle::started(Time now, std::string degraded_by) {
    since_ = now;
    state_ = degraded_by.empty() ? State::ready : State::degraded;
    reason_ = std::move(degraded_by);
}

void Lifecycle::start_failed(Time now, std::string why, double jitter) { fail(now, std::move(why), jitter); }

void Lifecycle::died(Time now, std::string why, double jitter) {
    if (!running()) return;
    if (now - since_ >= kStable) failures_ = 0;
    if (!restart_) {
        state_ = State::failed;
        reason_ = std::move(why);
        return;
    }
    fail(now, std::move(why), jitter);
}

void Lifecycle::needs_login(std::string why) {
    if (rest_ != State::asleep) return;
    failures_ = 0;
    state_ = State::needs_login;
    reason_ = std::move(why);
}

void Lifecycle::degraded(std::string why) {
    if (!running()) return;
    state_ = why.empty() ? State::ready : State::degraded;
    reason_ = std::move(why);
}

void Lifecycle::stopped() {
    bool const stays = state_ == State::failed || state_ == State::backing_off || state_ == State::needs_login;
    if (rest_ != State::asleep || stays) return;
    if (running()) failures_ = 0;
    state_ = State::asleep;
    reason_.clear();
}

void Lifecycle::reset() {
    if (rest_ != State::asleep) return;
    failures_ = 0;
    state_ = State::asleep;
    reason_.clear();
}

void Lifecycle::fail(Time now, std::string why, double jitter) {
    ++failures_;
    reason_ = std::move(why);
    if (max_restarts_ > 0 && failures_ >= max_restarts_) {
        state_ = State::failed;
        return;
    }
    state_ = State::backing_off;
    auto const wait = delay_ * (1 << std::min(failures_ - 1, 4));
    // Between half and the whole of it, so that many servers that failed together do not come back together.
    auto const part = 0.5 + std::clamp(jitter, 0.0, 1.0) / 2;
    next_try_ = now + std::chrono::duration_cast<base::milliseconds>(wait * part);
}

}  // namespace servers
