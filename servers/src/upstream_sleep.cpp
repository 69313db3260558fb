#include "upstream.hpp"

#include <spdlog/spdlog.h>

// Servers that keep in memory what they must not lose: to disk when idle, and back with the next call. Their client stays:
// for it, as for the server, nothing happened.
namespace servers {

bool Upstream::can_hibernate() const {
    return entry_.hibernate && connection_ && connection_->program && connection_->program->can_sleep();
}

Task<void> Upstream::hibernate() {
    auto const self = shared_from_this();
    auto const connection = connection_;
    if (!can_hibernate() || closing_ || in_flight_ > 0 || !passages.empty() || connection->client->in_flight() > 0)
        co_return;
    closing_ = true;
    auto slept = co_await connection->program->sleep();
    if (connection_ != connection) co_return;  // it ended meanwhile, and is buried
    closing_ = false;
    if (slept) {
        connection_.reset();
        sleeping_ = connection;
        slept_reason_ = life_.reason();
        life_.stopped();
        ++sleeps;
        log_->note("hibernates: its memory is on disk");
    } else {
        last_used_ = base::Clock::now();  // another idle time until the next try
        log_->note("does not hibernate, and goes on: " + slept.error().message());
    }
    changed_.notify();
    around_.changed();
}

/// True when it goes on where it was. An error: it may still be woken later. False: its memory is lost.
Task<Result<bool>> Upstream::wake() {
    auto const self = shared_from_this();
    auto const asleep = std::exchange(sleeping_, nullptr);
    if (!asleep) co_return false;
    auto const began = base::Clock::now();
    auto woken = co_await asleep->program->wake();
    bool const good = woken && !asleep->over && asleep->client->usable();
    if (good && !retired_ && !cut_short_) {
        connection_ = asleep;
        life_.started(base::Clock::now(), std::exchange(slept_reason_, ""));
        auto const ms = std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - began).count();
        log_->note("woke with its memory in " + std::to_string(ms) + " ms");
        ++wakes;
        co_return true;
    }
    auto const why = woken ? std::string("it did not go on") : woken.error().message();
    bool const lost = woken || *sandbox::image_reason(woken.error()) || base::is(woken.error(), base::errc::not_found) ||
                      base::is(woken.error(), base::errc::corrupt) || base::is(woken.error(), base::errc::timed_out);
    if (!lost && !retired_) {
        sleeping_ = asleep;
        co_return base::wrap(woken.error(), "it cannot be woken now, and its memory is kept");
    }
    log_->note("its memory is lost, and it starts anew: " + why);
    spdlog::warn("server {}: its memory is lost, and it starts anew: {}", entry_.name, why);
    around_.records.audit_lazy("servers/" + entry_.name, "memory lost", {{"reason", why}});
    co_await end(asleep);
    co_return false;
}

}  // namespace servers
