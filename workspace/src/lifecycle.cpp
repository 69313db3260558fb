#include <workspace/lifecycle.hpp>

namespace workspace {
namespace {

struct Row {
    State from;
    Event event;
    State to;
};

// All there is; what is not here cannot happen.
constexpr Row kRows[] = {
    {State::stopped, Event::start, State::starting},
    {State::stopped, Event::remove, State::deleting},

    {State::starting, Event::started, State::running},
    {State::starting, Event::failed, State::stopped},
    {State::starting, Event::died, State::stopped},

    {State::running, Event::freeze, State::frozen},
    {State::running, Event::hibernate, State::hibernating},
    {State::running, Event::stop, State::stopping},
    {State::running, Event::died, State::stopped},
    {State::running, Event::remove, State::deleting},

    {State::frozen, Event::thaw, State::running},
    {State::frozen, Event::hibernate, State::hibernating},
    {State::frozen, Event::stop, State::stopping},
    {State::frozen, Event::died, State::stopped},
    {State::frozen, Event::remove, State::deleting},

    {State::hibernating, Event::kept, State::hibernated},
    {State::hibernating, Event::failed, State::running},
    {State::hibernating, Event::died, State::stopped},

    {State::hibernated, Event::wake, State::waking},
    {State::hibernated, Event::stop, State::stopped},    // there is no sandbox to end, only the image goes
    {State::hibernated, Event::remove, State::deleting},

    {State::waking, Event::woken, State::running},
    {State::waking, Event::failed, State::hibernated},
    {State::waking, Event::unusable, State::stopped},

    // The old sandbox or image is given up in the commit that names the new sandbox.
    {State::stopped, Event::restored, State::running},
    {State::running, Event::restored, State::running},
    {State::frozen, Event::restored, State::running},
    {State::hibernated, Event::restored, State::running},

    {State::stopping, Event::ended, State::stopped},
    {State::stopping, Event::died, State::stopped},

    {State::deleting, Event::died, State::deleting},
};

}  // namespace

std::string_view to_string(State s) {
    switch (s) {
        case State::stopped: return "stopped";
        case State::starting: return "starting";
        case State::running: return "running";
        case State::frozen: return "frozen";
        case State::hibernating: return "hibernating";
        case State::hibernated: return "hibernated";
        case State::waking: return "waking";
        case State::stopping: return "stopping";
        case State::deleting: return "deleting";
    }
    return "";
}

std::string_view to_string(Event e) {
    switch (e) {
        case Event::start: return "start";
        case Event::started: return "started";
        case Event::freeze: return "freeze";
        case Event::thaw: return "thaw";
        case Event::hibernate: return "hibernate";
        case Event::kept: return "kept";
        case Event::wake: return "wake";
        case Event::woken: return "woken";
        case Event::failed: return "failed";
        case Event::restored: return "restored";
        case Event::unusable: return "unusable";
        case Event::stop: return "stop";
        case Event::ended: return "ended";
        case Event::died: return "died";
        case Event::remove: return "remove";
    }
    return "";
}

std::optional<State> after(State state, Event event) {
    for (auto const& row : kRows)
        if (row.from == state && row.event == event) return row.to;
    return std::nullopt;
}

std::string_view recorded(State s) {
    switch (s) {
        case State::starting:
        case State::running:
        case State::frozen: return "running";
        case State::stopping: return "stopped";
        default: return to_string(s);
    }
}

State state_from(std::string_view record) {
    for (auto const s : {State::running, State::hibernating, State::hibernated, State::waking, State::deleting})
        if (record == to_string(s)) return s;
    return State::stopped;
}

WayOut way_out(State s) {
    WayOut out;
    switch (s) {
        case State::starting:
        case State::running:
        case State::frozen: out.adopt = true; break;
        // What a checkpoint paused goes on: its image was not recorded, so it does not count.
        case State::hibernating: out.adopt = true; break;
        case State::hibernated: out.otherwise = State::hibernated; break;
        // One that has its guest's answer may have gone on; of any other nobody has heard, so its image is as good as before.
        case State::waking: out.adopt = true, out.otherwise = State::hibernated; break;
        case State::stopping:
        case State::stopped: break;
        case State::deleting: out.otherwise = State::deleting, out.finish_delete = true; break;
    }
    return out;
}

IdleStep idle_step(IdleFacts const& f) {
    bool const due_to_stop = f.stop_after_ms > 0 && f.idle_ms >= f.stop_after_ms;
    if (f.state == State::hibernated) return due_to_stop && !f.kept && !f.in_use ? IdleStep::stop : IdleStep::none;
    if (!is_awake(f.state) || f.in_use) return IdleStep::none;
    if (!f.kept && due_to_stop) return IdleStep::stop;
    if (!f.kept && !f.refused && f.hibernate_after_ms > 0 && f.idle_ms >= f.hibernate_after_ms) return IdleStep::hibernate;
    if (f.state == State::running && !f.running && f.idle_ms >= f.freeze_after_ms) return IdleStep::freeze;
    return IdleStep::none;
}

}  // namespace workspace
