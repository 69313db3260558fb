// The end of a server that was there for its clients alone: what they brought up sleeps, so that nothing of theirs runs on with
// nobody to reach it, and what an earlier server had left running is none of their business.
#include "impl.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace workspace {

Task<void> Workspaces::shut_down_after_clients(base::milliseconds limit) {
    using namespace asio::experimental::awaitable_operators;
    auto const end = base::Clock::now() + limit;
    co_await shut_down(false);
    std::vector<Impl::Ptr> all;
    for (auto const& [id, w] : impl_->table) all.push_back(w);
    // The newest in use first, since time may be short. They are taken from the back.
    std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) { return a->last_used < b->last_used; });
    auto one = impl_->leave(&all, end);
    auto other = impl_->leave(&all, end);    // two write to the disk at once, as when they are idle
    co_await (std::move(one) && std::move(other));
}

Task<void> Workspaces::Impl::leave(std::vector<Ptr>* all, base::Clock::time_point end) {
    while (!all->empty()) {
        auto const w = std::move(all->back());
        all->pop_back();
        try {
            co_await leave_one(w, end);
        } catch (std::exception const& e) {
            spdlog::error("workspace {}: left as it is: {}", w->record.id, e.what());
        }
    }
}

Task<void> Workspaces::Impl::leave_one(Ptr w, base::Clock::time_point end) {
    auto held = co_await w->turn.take();
    if (w->deleted()) co_return;
    put_right(*w);
    if (w->sandbox && w->sandbox == w->found.lock()) {
        co_await let_rest(w);
        co_return;
    }
    if (w->sandbox) {
        auto const left = std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now());
        Status slept = base::error(base::errc::timed_out, "there was no time left");
        if (!images) slept = base::error(base::errc::unavailable, "no memory is kept here");
        else if (left.count() > 0 && w->sandbox->alive()) {
            Slept unused;
            slept = co_await checkpoint(w, &unused, std::min(left, kSaveLimit));
        }
        if (slept) ++counts.hibernated;
        else {
            spdlog::info("workspace {}: ends with its server, without its memory: {}", w->record.id, slept.error().message());
            (void)co_await put_to_rest(w, "its server ended with its last client: " + slept.error().message());
        }
    }
    co_await see_off(w);
    (void)co_await volumes.release(w->record.volume);
}

// A look at it has thawed it. Frozen again it costs nothing until the next server comes; what runs in it goes on.
Task<void> Workspaces::Impl::let_rest(Ptr w) {
    if (!w->sandbox->alive() || w->sandbox->frozen()) co_return;
    auto const known = co_await w->sandbox->guest().processes();
    bool const quiet = known && std::none_of(known->begin(), known->end(), [](auto const& p) { return p.running; });
    if (quiet) (void)w->sandbox->freeze();
}

}  // namespace workspace
