#include "impl.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace workspace {
namespace {

constexpr base::milliseconds kTick{500};
// While commands run, look again after this long: their end is what starts the idle time.
constexpr base::milliseconds kBusyLook{5'000};

long long ms_since(base::Clock::time_point t) {
    return std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - t).count();
}

}  // namespace

Task<void> Workspaces::Impl::idle_loop() {
    while (!stopping) {
        idle_timer.expires_after(kTick);
        auto [ec] = co_await idle_timer.async_wait(base::as_tuple);
        if (ec || stopping) co_return;
        std::vector<Ptr> due;
        for (auto const& [id, w] : table) {
            if (!w->sandbox || w->starting || w->deleted || base::Clock::now() < w->look_again) continue;
            IdleFacts const facts{w->leases > 0,
                                  w->sandbox->frozen(),
                                  w->settings.idle.keep,
                                  ms_since(w->last_used),
                                  w->settings.idle.freeze_after.count(),
                                  w->settings.idle.stop_after.count()};
            if (idle_step(facts) != IdleStep::none) due.push_back(w);
        }
        for (auto const& w : due) co_await idle_look(w);
    }
}

Task<void> Workspaces::Impl::idle_look(Ptr w) {
    auto held = co_await w->turn.take();
    if (!w->sandbox || !w->sandbox->alive() || w->leases > 0 || w->deleted) co_return;
    if (!w->sandbox->frozen()) {
        auto known = co_await w->sandbox->guest().processes();
        if (!known || w->leases > 0) co_return;
        if (std::any_of(known->begin(), known->end(), [](auto const& p) { return p.running; })) {
            w->look_again = base::Clock::now() + kBusyLook;
            w->used();
            co_return;
        }
    }
    IdleFacts const facts{false,
                          w->sandbox->frozen(),
                          w->settings.idle.keep,
                          ms_since(w->last_used),
                          w->settings.idle.freeze_after.count(),
                          w->settings.idle.stop_after.count()};
    switch (idle_step(facts)) {
        case IdleStep::none:
            break;
        case IdleStep::freeze:
            if (auto s = w->sandbox->freeze(); !s)
                spdlog::warn("workspace {}: {}", w->record.id, s.error().message());
            else
                tell(*w);
            break;
        case IdleStep::stop:
            spdlog::info("workspace {}: idle for {} s, stopped; its files stay", w->record.id,
                         ms_since(w->last_used) / 1000);
            (void)co_await put_to_sleep(w, "");
            break;
    }
}

}  // namespace workspace
