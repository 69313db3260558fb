#include "impl.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace workspace {
namespace {

constexpr base::milliseconds kTick{500};
// While commands run, look again after this long: their end is what starts the idle time.
constexpr base::milliseconds kBusyLook{5'000};
// How often the use of memory is looked at; over how long that of processors is, and from which share of one
// on it is work.
constexpr base::milliseconds kUsageLook{1'000}, kWorkLook{5'000};
constexpr double kWork = 0.1;
// Going to sleep takes a second for each gigabyte, freezing a round trip to each guest.
constexpr int kRestingAtOnce = 2, kFreezingAtOnce = 16;
constexpr base::milliseconds kDeleteAgain{30'000};

long long ms_since(base::Clock::time_point t) {
    return std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - t).count();
}

// Work inside counts as use, whoever began it: a build goes on though nobody asks for it.
void look_at_usage(Workspace& w) {
    if (w.state != State::running || !w.sandbox || ms_since(w.usage_seen) < kUsageLook.count()) return;
    auto const used = w.sandbox->usage();
    if (!used) return;
    w.usage_seen = base::Clock::now();
    w.memory_bytes = used->memory_bytes;
    auto const span = ms_since(w.cpu_seen);
    if (span < kWorkLook.count() && used->cpu_ms >= w.cpu_ms) return;
    bool const seen_before = span < 2 * kWorkLook.count() && used->cpu_ms >= w.cpu_ms;
    if (seen_before && static_cast<double>(used->cpu_ms - w.cpu_ms) > kWork * static_cast<double>(span))
        w.used();
    w.cpu_ms = used->cpu_ms;
    w.cpu_seen = w.usage_seen;
}

}  // namespace

IdleFacts Workspaces::Impl::idle_facts(Workspace const& w) const {
    IdleFacts facts;
    facts.state = w.state;
    facts.in_use = w.in_use();
    facts.kept = w.settings.idle.keep_alive;
    facts.refused = !images || base::Clock::now() < w.sleep_again;
    facts.idle_ms = ms_since(w.last_used);
    facts.freeze_after_ms = w.settings.idle.freeze_after.count();
    facts.hibernate_after_ms = w.settings.idle.hibernate_after.count();
    facts.stop_after_ms = w.settings.idle.stop_after.count();
    return facts;
}

Task<void> Workspaces::Impl::idle_loop() {
    while (!stopping) {
        idle_timer.expires_after(kTick);
        auto [ec] = co_await idle_timer.async_wait(base::as_tuple);
        if (ec || stopping) co_return;
        std::vector<Ptr> due, unmount, doomed;
        for (auto const& [id, w] : table) {
            look_at_usage(*w);
            if (base::Clock::now() >= w->unmount_at) unmount.push_back(w);
            if (w->deleted() && base::Clock::now() >= w->look_again) doomed.push_back(w);
            if (base::Clock::now() >= w->look_again && idle_step(idle_facts(*w)) != IdleStep::none)
                due.push_back(w);
        }
        keep_spare();
        for (auto const& w : unmount) co_await let_files_rest(w);
        for (auto const& w : doomed) asio::co_spawn(io, delete_again(w), asio::detached);
        // Those that were idle longest first; the others come to it in the next rounds, and are still frozen in time.
        std::sort(due.begin(), due.end(), [](Ptr const& a, Ptr const& b) { return a->last_used < b->last_used; });
        for (auto const& w : due) {
            bool const quick = idle_step(idle_facts(*w)) == IdleStep::freeze;
            int& busy = quick ? freezing : resting;
            if (busy >= (quick ? kFreezingAtOnce : kRestingAtOnce)) continue;
            ++busy;
            // Apart from this loop: one guest that does not answer is not to hold up the others.
            asio::co_spawn(io, rest(w, &busy), asio::detached);
        }
    }
}

Task<void> Workspaces::Impl::let_files_rest(Ptr w) {
    auto held = w->turn.try_take();
    if (!held) co_return;
    w->unmount_at = base::Clock::time_point::max();
    bool const asleep = w->state == State::hibernated || w->state == State::stopped;
    if (!asleep || w->sandbox || w->leaving) co_return;
    auto released = co_await volumes.release(w->record.volume);
    if (!released) w->unmount_at = base::Clock::now() + kMountKept;  // someone reads a file
}

Task<void> Workspaces::Impl::rest(Ptr w, int* busy) {
    try {
        co_await idle_look(w);
    } catch (std::exception const& e) {
        spdlog::error("workspace {}: going to rest: {}", w->record.id, e.what());
    }
    --*busy;
}

// A deletion that could not go on, for want of the disk or the registry, has no other way out than the next start.
Task<void> Workspaces::Impl::delete_again(Ptr w) {
    auto held = w->turn.try_take();
    if (!held || stopping || !table.contains(w->record.id)) co_return;  // it may have ended since it was seen
    w->look_again = base::Clock::now() + kDeleteAgain;
    ++background;
    if (auto s = co_await destroy(w); !s)
        spdlog::warn("workspace {}: its deletion is not finished: {}", w->record.id, s.error().message());
    --background;
}

Task<void> Workspaces::Impl::idle_look(Ptr w) {
    auto held = w->turn.try_take();
    if (!held || stopping) co_return;
    auto facts = idle_facts(*w);
    if (is_awake(w->state)) {
        if (!w->sandbox || !w->sandbox->alive()) co_return;
        // A frozen one had nothing running.
        if (!w->sandbox->frozen()) {
            auto known = co_await w->sandbox->guest().processes();
            if (!known) w->look_again = base::Clock::now() + kBusyLook;
            if (!known || w->in_use()) co_return;
            for (auto const& p : *known) {
                if (!p.running) continue;
                facts.running = true;
                auto const it = processes.find(p.id);
                if (it != processes.end() && it->second.keep_alive) facts.kept = true;
            }
            facts.idle_ms = ms_since(w->last_used);
            if (facts.running) w->look_again = base::Clock::now() + kBusyLook;
        }
    }
    auto const seconds = ms_since(w->last_used) / 1000;
    switch (idle_step(facts)) {
        case IdleStep::none:
            break;
        case IdleStep::freeze:
            if (auto s = w->sandbox->freeze(); !s)
                spdlog::warn("workspace {}: {}", w->record.id, s.error().message());
            else {
                w->happens(Event::freeze);
                tell(*w);
            }
            break;
        case IdleStep::hibernate: {
            spdlog::info("workspace {}: idle for {} s, hibernates", w->record.id, seconds);
            HibernateRequest const request;
            (void)co_await hibernate(w, request);
            break;
        }
        case IdleStep::stop:
            spdlog::info("workspace {}: idle for {} s, stopped; its files stay", w->record.id, seconds);
            (void)co_await put_to_rest(w, "it was idle for " + std::to_string(seconds) + " s");
            break;
    }
}

}  // namespace workspace
