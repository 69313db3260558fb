#include <workspace/lifecycle.hpp>

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

using namespace workspace;

namespace {

std::vector<State> const kStates{State::stopped, State::starting,    State::running,
                                 State::frozen,  State::hibernating, State::hibernated,
                                 State::waking,  State::stopping,    State::deleting};
std::vector<Event> const kEvents{Event::start, Event::started, Event::freeze, Event::thaw,   Event::hibernate,
                                 Event::kept,  Event::wake,    Event::woken,  Event::failed, Event::unusable,
                                 Event::restored, Event::stop,  Event::ended,   Event::died,   Event::remove};

// Every state and every event: what follows, and nothing else.
std::map<std::string, std::string> const kFollows{
    {"stopped start", "starting"},        {"stopped remove", "deleting"},
    {"starting started", "running"},      {"starting failed", "stopped"},
    {"starting died", "stopped"},         {"running freeze", "frozen"},
    {"running hibernate", "hibernating"}, {"running stop", "stopping"},
    {"running died", "stopped"},          {"running remove", "deleting"},
    {"frozen thaw", "running"},           {"frozen hibernate", "hibernating"},
    {"frozen stop", "stopping"},          {"frozen died", "stopped"},
    {"frozen remove", "deleting"},        {"hibernating kept", "hibernated"},
    {"hibernating failed", "running"},    {"hibernating died", "stopped"},
    {"hibernated wake", "waking"},        {"hibernated stop", "stopped"},
    {"hibernated remove", "deleting"},    {"waking woken", "running"},
    {"waking failed", "hibernated"},      {"waking unusable", "stopped"},
    {"stopped restored", "running"},     {"running restored", "running"},    {"frozen restored", "running"},
    {"hibernated restored", "running"},
    {"stopping ended", "stopped"},        {"stopping died", "stopped"},
    {"deleting died", "deleting"},
};

IdleFacts idle(State state, long long ms) {
    IdleFacts f;
    f.state = state;
    f.idle_ms = ms;
    f.freeze_after_ms = 2'000;
    f.hibernate_after_ms = 60'000;
    f.stop_after_ms = 3'600'000;
    return f;
}

}  // namespace

TEST_CASE("a workspace's life") {
    SUBCASE("goes from each state with each event to one place or to none") {
        for (auto const state : kStates)
            for (auto const event : kEvents) {
                auto const name = std::string(to_string(state)) + " " + std::string(to_string(event));
                CAPTURE(name);
                auto const next = after(state, event);
                auto const expected = kFollows.find(name);
                CHECK(next.has_value() == (expected != kFollows.end()));
                if (next && expected != kFollows.end()) CHECK(to_string(*next) == expected->second);
            }
    }
    SUBCASE("has names of its own for all of them") {
        std::set<std::string_view> names;
        for (auto const state : kStates) CHECK(names.insert(to_string(state)).second);
        std::set<std::string_view> events;
        for (auto const event : kEvents) CHECK(events.insert(to_string(event)).second);
    }
    SUBCASE("stays in no -ing state: each has a way out, whatever becomes of what it waits for") {
        for (auto const state : {State::starting, State::hibernating, State::waking, State::stopping}) {
            CAPTURE(to_string(state));
            int ways = 0;
            for (auto const event : kEvents)
                if (auto const next = after(state, event); next && *next != state) ++ways;
            CHECK(ways >= 2);
        }
    }
    SUBCASE("is deleted from any state at rest, and from then on nothing else happens") {
        for (auto const state : {State::stopped, State::running, State::frozen, State::hibernated})
            CHECK(after(state, Event::remove) == State::deleting);
        for (auto const event : kEvents)
            if (auto const next = after(State::deleting, event)) CHECK(*next == State::deleting);
    }
}

TEST_CASE("what is recorded of a life") {
    SUBCASE("reads back as the state that recovery starts from") {
        std::map<State, State> const read{
            {State::stopped, State::stopped},         {State::starting, State::running},
            {State::running, State::running},         {State::frozen, State::running},
            {State::hibernating, State::hibernating}, {State::hibernated, State::hibernated},
            {State::waking, State::waking},           {State::stopping, State::stopped},
            {State::deleting, State::deleting}};
        for (auto const state : kStates) CHECK(state_from(recorded(state)) == read.at(state));
        CHECK(state_from("of a later version") == State::stopped);
        CHECK(state_from("") == State::stopped);
    }
    SUBCASE("has a way out after a crash at any moment") {
        for (auto const state : kStates) {
            CAPTURE(to_string(state));
            auto const way = way_out(state_from(recorded(state)));
            // Where it leads without a sandbox is a state at rest.
            bool const rest =
                way.otherwise == State::stopped || way.otherwise == State::hibernated || way.finish_delete;
            CHECK(rest);
        }
        CHECK(way_out(State::running).adopt);
        // A sandbox that a checkpoint paused goes on: nothing was recorded of its image.
        CHECK(way_out(State::hibernating).adopt);
        CHECK(way_out(State::hibernating).otherwise == State::stopped);
        // The image counts, and no sandbox beside it.
        CHECK_FALSE(way_out(State::hibernated).adopt);
        CHECK(way_out(State::hibernated).otherwise == State::hibernated);
        // One that got as far as answering goes on; else the image is as good as before.
        CHECK(way_out(State::waking).adopt);
        CHECK(way_out(State::waking).otherwise == State::hibernated);
        CHECK(way_out(State::deleting).finish_delete);
        CHECK_FALSE(way_out(State::stopped).adopt);
    }
}

TEST_CASE("an idle workspace") {
    SUBCASE("is left alone, frozen, hibernated and stopped as time goes by") {
        CHECK(idle_step(idle(State::running, 1'999)) == IdleStep::none);
        CHECK(idle_step(idle(State::running, 2'000)) == IdleStep::freeze);
        CHECK(idle_step(idle(State::frozen, 59'999)) == IdleStep::none);
        CHECK(idle_step(idle(State::frozen, 60'000)) == IdleStep::hibernate);
        CHECK(idle_step(idle(State::running, 60'000)) == IdleStep::hibernate);
        CHECK(idle_step(idle(State::hibernated, 60'000)) == IdleStep::none);
        CHECK(idle_step(idle(State::hibernated, 3'600'000)) == IdleStep::stop);
        CHECK(idle_step(idle(State::frozen, 3'600'000)) == IdleStep::stop);
    }
    SUBCASE("is not frozen while a command runs, which a forgotten shell does not keep from sleeping") {
        auto f = idle(State::running, 30'000);
        f.running = true;
        CHECK(idle_step(f) == IdleStep::none);
        f.idle_ms = 60'000;
        CHECK(idle_step(f) == IdleStep::hibernate);
    }
    SUBCASE("with a command that was to be kept, or kept as a whole, neither sleeps nor stops") {
        auto f = idle(State::running, 99'000'000);
        f.kept = true;
        f.running = true;
        CHECK(idle_step(f) == IdleStep::none);
        f.running = false;
        CHECK(idle_step(f) == IdleStep::freeze);
        f.state = State::frozen;
        CHECK(idle_step(f) == IdleStep::none);
        f.state = State::hibernated;
        CHECK(idle_step(f) == IdleStep::none);
    }
    SUBCASE("is not idle while a call or a connection is open") {
        for (auto const state : kStates) {
            auto f = idle(state, 99'000'000);
            f.in_use = true;
            CHECK(idle_step(f) == IdleStep::none);
        }
    }
    SUBCASE("that could not be put to sleep is asked again later, and frozen meanwhile") {
        auto f = idle(State::running, 60'000);
        f.refused = true;
        CHECK(idle_step(f) == IdleStep::freeze);
        f.idle_ms = 3'600'000;
        CHECK(idle_step(f) == IdleStep::stop);
    }
    SUBCASE("never goes where its time is 0") {
        auto f = idle(State::frozen, 99'000'000'000);
        f.hibernate_after_ms = f.stop_after_ms = 0;
        CHECK(idle_step(f) == IdleStep::none);
        f.hibernate_after_ms = 1;
        CHECK(idle_step(f) == IdleStep::hibernate);
    }
    SUBCASE("on its way somewhere is left to go there") {
        for (auto const state : {State::stopped, State::starting, State::hibernating, State::waking,
                                 State::stopping, State::deleting})
            CHECK(idle_step(idle(state, 99'000'000)) == IdleStep::none);
    }
}
