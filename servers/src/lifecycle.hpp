#pragma once
#include <base/asio.hpp>
#include <config/servers.hpp>

#include <string>

namespace servers {

enum class State { disabled, misconfigured, asleep, starting, ready, degraded, backing_off, failed, needs_login };
char const* to_string(State);

/// The life of one server as decisions alone: events in, what to do next out. No socket, clock or timer;
/// `now` comes with the event.
class Lifecycle {
  public:
    using Time = base::Clock::time_point;

    explicit Lifecycle(config::ServerEntry const& entry);

    State state() const { return state_; }
    std::string const& reason() const { return reason_; }  ///< of every state but ready and asleep
    Time next_try() const { return next_try_; }            ///< while backing off
    int failures() const { return failures_; }             ///< in a row

    enum class Answer {
        use,     ///< it runs
        start,   ///< the caller starts it, and reports how that went
        wait,    ///< a start is under way
        refuse,  ///< not now; `reason` and `next_try` say why and until when
    };
    /// Somebody wants to use it.
    Answer wanted(Time now);
    void started(Time now, std::string degraded_by = "");
    /// `jitter` is 0 to 1.
    void start_failed(Time now, std::string why, double jitter);
    /// It ended by itself while it ran.
    void died(Time now, std::string why, double jitter);
    /// It wants a login, which an operator has to make: nothing is tried until `reset`.
    void needs_login(std::string why);
    /// Part of it does not work, or works again ("").
    void degraded(std::string why);
    /// Stopped by us: idle, restarted, or with berth.
    void stopped();
    /// By hand: forgets failures, so that the next caller starts it.
    void reset();

    bool running() const { return state_ == State::ready || state_ == State::degraded; }

  private:
    void fail(Time now, std::string why, double jitter);

    bool restart_ = true;
    int max_restarts_ = 5;
    base::milliseconds delay_{1000};
    State state_ = State::asleep;
    State rest_ = State::asleep;  ///< disabled and misconfigured never leave
    std::string reason_;
    int failures_ = 0;
    Time next_try_{}, since_{};
};

}  // namespace servers
