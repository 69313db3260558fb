#pragma once
#include <optional>
#include <string_view>

namespace workspace {

// The life of a workspace as a machine without clocks, files or sandboxes: what is, what happens, what follows. Whoever acts
// on it records first and touches afterwards, one action at a time for each workspace:
//
//   starting     `running` and the slot are recorded before anyone can use it
//   hibernating  recorded before the sandbox is touched; `hibernated` with its image in the same commit while everything
//                inside stands still; only then does the sandbox end
//   waking       recorded with the slot before the image is loaded; `running` once the guest has answered, and only then is
//                the sandbox handed out and the image given up
//   stopping     `stopped` is recorded before the sandbox ends
//   deleting     recorded before the first file goes
//
// So at every moment the records name one sandbox or one image that holds the memory, never both and never neither. A memory
// image is loaded once: what ran after it has changed the files, and files are the truth.

enum class State { stopped, starting, running, frozen, hibernating, hibernated, waking, stopping, deleting };

enum class Event {
    start,      ///< a sandbox is to be set up from the files
    started,
    freeze,
    thaw,
    hibernate,
    kept,       ///< the memory image is durable and recorded
    wake,
    woken,      ///< the guest answered
    failed,     ///< what was begun did not come to pass; everything is as before it
    restored,   ///< another sandbox, from a snapshot, took the place of what there was
    unusable,   ///< the image will never be loaded: only the files are left
    stop,
    ended,      ///< the sandbox is gone, by wish
    died,       ///< the sandbox is gone, not by wish
    remove,
};

std::string_view to_string(State);
std::string_view to_string(Event);

/// What follows; nothing when that cannot happen here.
std::optional<State> after(State, Event);

/// Whether a sandbox belongs to it that can be used.
constexpr bool is_awake(State s) { return s == State::running || s == State::frozen; }

/// The word that is recorded for a state. Freezing is the kernel's knowledge; a start that was not finished is found out by
/// asking the guest; a stop is as good as done.
std::string_view recorded(State);
/// Unknown text reads as `stopped`: starting from the files is always right.
State state_from(std::string_view record);

/// What the next server does with a record that it finds after a crash.
struct WayOut {
    bool adopt = false;               ///< take back the recorded slot's sandbox, if it lives and answers
    State otherwise = State::stopped; ///< what it becomes without
    bool finish_delete = false;
};
WayOut way_out(State recorded_state);  ///< of a state as `state_from` read it

/// What the idle policy looks at.
struct IdleFacts {
    State state = State::stopped;
    bool in_use = false;              ///< calls under way, open connections
    bool running = false;             ///< some command runs inside
    bool kept = false;                ///< one that shall go on, or the whole workspace shall
    bool refused = false;             ///< it could not be put to sleep a moment ago
    long long idle_ms = 0;            ///< since the last use
    long long freeze_after_ms = 0;
    long long hibernate_after_ms = 0, stop_after_ms = 0;    ///< 0 = never
};
enum class IdleStep { none, freeze, hibernate, stop };
/// Freezing stops what runs without anyone's wish, so it waits until nothing does; sleep and stop take what runs along, unless
/// that was to be kept.
IdleStep idle_step(IdleFacts const&);

}  // namespace workspace
