#include "waker.hpp"

#include <base/uncancelled.hpp>

namespace preview {

base::Task<void> Waker::run(std::shared_ptr<State> state, std::shared_ptr<Wake> wake, std::string owner,
                            std::string workspace) {
    try {
        auto awake = co_await state->backend.awake(owner, workspace);
        if (awake)
            wake->awake = std::move(*awake);
        else
            wake->outcome = awake.error();
    } catch (std::exception const&) {  // else nobody could wake it ever after
        wake->outcome = base::error(base::errc::internal, "the wake ended unexpectedly; try again");
    }
    wake->done = true;
    state->wakes.erase(workspace);
    for (auto* timer : wake->waiting) timer->cancel();
}

base::Task<base::Result<std::unique_ptr<Awake>>> Waker::awake(std::string owner, std::string workspace) {
    auto const state = state_;
    switch (state->backend.state(owner, workspace)) {
        case Backend::State::unknown:
            co_return base::error(base::errc::not_found, "no such workspace");
        case Backend::State::awake:
            co_return co_await state->backend.awake(std::move(owner), std::move(workspace));
        case Backend::State::asleep:
            break;
    }
    auto& slot = state->wakes[workspace];
    bool const first = !slot;
    if (first) slot = std::make_shared<Wake>();
    auto const wake = slot;
    if (state->held >= state->options.max_held ||
        static_cast<int>(wake->waiting.size()) >= state->options.max_held_per_workspace) {
        if (first) state->wakes.erase(workspace);
        co_return base::error(base::errc::busy, "too many requests wait for this workspace to wake");
    }
    asio::steady_timer limit(state->executor, state->options.wake_limit);
    struct Held {
        Held(State& s, Wake& w, asio::steady_timer& t) : state(s), wake(w), timer(t) {
            ++state.held;
            wake.waiting.insert(&timer);
        }
        ~Held() {
            --state.held;
            wake.waiting.erase(&timer);
        }
        State& state;
        Wake& wake;
        asio::steady_timer& timer;
    };
    std::optional<Held> held;
    held.emplace(*state, *wake, limit);
    if (first) {
        // Goes on when those who asked have gone: a wake is not undone half-way.
        auto work = run(state, wake, owner, workspace);
        asio::co_spawn(state->executor, std::move(work), asio::detached);
    }
    if (!wake->done) co_await limit.async_wait(base::as_tuple);
    held.reset();
    if (!wake->done) co_return base::error(base::errc::timed_out, "the workspace is still waking");
    if (!wake->outcome) co_return wake->outcome.error();
    co_return co_await state->backend.awake(std::move(owner), std::move(workspace));
}

}  // namespace preview
