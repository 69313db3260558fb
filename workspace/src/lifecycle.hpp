#pragma once
#include <string_view>

namespace workspace {

/// The durable states of a workspace. `running` has a slot recorded; a start after a crash adopts it or falls
/// back to `stopped`. `deleting` is recorded before the first file goes, so that a crash half-way ends in
/// deletion, not in a damaged workspace.
enum class State { running, stopped, deleting };

constexpr std::string_view to_string(State s) {
    switch (s) {
        case State::running:
            return "running";
        case State::stopped:
            return "stopped";
        case State::deleting:
            return "deleting";
    }
    return "";
}

/// Unknown text reads as `stopped`: files are the truth, and starting from them is always right.
constexpr State state_from(std::string_view s) {
    return s == "running" ? State::running : s == "deleting" ? State::deleting : State::stopped;
}

/// What the next server does with a record it finds.
enum class RecoveryStep { adopt_or_stop, keep, finish_delete };
constexpr RecoveryStep recovery_step(State s) {
    switch (s) {
        case State::running:
            return RecoveryStep::adopt_or_stop;
        case State::stopped:
            return RecoveryStep::keep;
        case State::deleting:
            return RecoveryStep::finish_delete;
    }
    return RecoveryStep::keep;
}

/// What the idle policy does next with an awake workspace.
enum class IdleStep { none, freeze, stop };
struct IdleFacts {
    bool in_use = false, frozen = false, keep = false;
    long long idle_ms = 0, freeze_after_ms = 0, stop_after_ms = 0;  ///< stop_after 0 = never
};
constexpr IdleStep idle_step(IdleFacts const& f) {
    if (f.in_use) return IdleStep::none;
    if (!f.keep && f.stop_after_ms > 0 && f.idle_ms >= f.stop_after_ms) return IdleStep::stop;
    if (!f.frozen && f.idle_ms >= f.freeze_after_ms) return IdleStep::freeze;
    return IdleStep::none;
}

}  // namespace workspace
