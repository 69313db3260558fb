#include "client_listen.hpp"

#include <base/timeout.hpp>

#include <algorithm>

namespace mcp {
namespace {

constexpr base::milliseconds kFirstPause{1'000}, kLongestPause{60'000};

bool says(Json const& capabilities, char const* part, char const* what) {
    auto const it = capabilities.is_object() ? capabilities.find(part) : capabilities.end();
    return capabilities.is_object() && it != capabilities.end() && it->is_object() &&
           it->value(what, Json(false)) == true;
}

}  // namespace

Listening::Listening(std::shared_ptr<ClientCore> core) : core_(core), changed_(core->executor) {}

Json Listening::wished() const {
    Json out = Json::object();
    auto const core = core_.lock();
    if (!core) return out;
    auto const& offered = core->facts.capabilities;
    if (core->options.listen) {
        if (says(offered, "tools", "listChanged")) out["toolsListChanged"] = true;
        if (says(offered, "prompts", "listChanged")) out["promptsListChanged"] = true;
        if (says(offered, "resources", "listChanged")) out["resourcesListChanged"] = true;
    }
    if (!uris_.empty()) out["resourceSubscriptions"] = uris_;
    return out;
}

void Listening::start() {
    if (!wished().empty()) kick();
}

void Listening::kick() {
    dirty_ = true;
    changed_.notify();
    if (stream_) stream_->wake.notify();
    auto const core = core_.lock();
    if (!core || core->over || std::exchange(running_, true)) return;
    core->spawn(run(shared_from_this()));
}

Task<Outcome<bool>> Listening::add(std::string uri) {
    auto const self = shared_from_this();
    auto const core = core_.lock();
    if (!core) co_return failure(base::errc::unavailable, "the connection is closed");
    if (uris_.contains(uri)) co_return true;
    if (uris_.size() >= core->options.max_items)
        co_return failure(base::errc::limit, "too many subscriptions are open");
    uris_.insert(uri);
    auto waiter = std::make_shared<Waiter>(Waiter{uri, Wake(core->executor), std::nullopt, false});
    waiters_.push_back(waiter);
    struct Leave {
        ~Leave() { list.remove(waiter); }
        std::list<std::shared_ptr<Waiter>>& list;
        std::shared_ptr<Waiter> const& waiter;
    } const leave{waiters_, waiter};
    kick();
    auto const end = base::Clock::now() + core->options.request_limit;
    while (!waiter->done && !core->over) {
        auto const left = std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now());
        if (left.count() <= 0) break;
        co_await waiter->wake.wait(left);
    }
    if (core->over) co_return failure(base::errc::unavailable, core->reason);
    if (!waiter->done) {
        uris_.erase(uri);
        co_return failure(base::errc::timed_out, "the server did not acknowledge the subscription");
    }
    if (waiter->failure) {
        uris_.erase(uri);
        co_return std::move(*waiter->failure);
    }
    co_return true;
}

Task<Outcome<bool>> Listening::remove(std::string uri) {
    if (uris_.erase(uri) > 0) kick();
    co_return true;
}

void Listening::settle(std::optional<Failure> failed) {
    auto const honoured = stream_ && stream_->acknowledged.is_object()
                              ? stream_->acknowledged.value("resourceSubscriptions", Json::array())
                              : Json::array();
    for (auto const& waiter : waiters_) {
        if (waiter->done) continue;
        bool const found = std::find(honoured.begin(), honoured.end(), Json(waiter->uri)) != honoured.end();
        if (failed) {
            waiter->failure = failed;
        } else if (!found) {
            waiter->failure =
                failure(base::errc::invalid, "the server does not offer to watch this resource");
        }
        waiter->done = true;
        waiter->wake.notify();
    }
}

/// After a gap nobody knows what was missed.
void Listening::announce() const {
    auto const core = core_.lock();
    if (!core || !core->events) return;
    auto const wish = wished();
    if (wish.contains("toolsListChanged")) core->events->tools_changed();
    if (wish.contains("promptsListChanged")) core->events->prompts_changed();
    if (wish.contains("resourcesListChanged")) core->events->resources_changed();
    for (auto const& uri : uris_) core->events->resource_updated(uri);
}

Task<Outcome<bool>> Listening::open_stream() {
    auto const core = core_.lock();
    auto const old = std::exchange(stream_, nullptr);
    auto const wish = wished();
    Outcome<bool> opened = true;
    if (!wish.empty()) {
        auto const call = std::make_shared<CallOptions const>();
        Json params = Json::object();
        params["notifications"] = wish;
        auto begun = core->begin("subscriptions/listen", std::move(params), call, true);
        if (!begun) {
            opened = begun.error();
        } else {
            stream_ = std::move(*begun);
            auto const end = base::Clock::now() + core->options.request_limit;
            while (stream_->acknowledged.is_null() && !stream_->over() && base::Clock::now() < end)
                co_await stream_->wake.wait(core->options.request_limit);
            if (stream_->failure) {
                opened = *stream_->failure;
            } else if (stream_->answer && stream_->answer->error) {
                Failure refused;
                refused.rpc = stream_->answer->error;
                opened = refused;
            } else if (stream_->acknowledged.is_null()) {
                opened = failure(base::errc::timed_out, "the server did not acknowledge the subscription");
            }
            if (!opened) {
                core->end(*stream_, "no acknowledgement");
                stream_.reset();
            }
        }
    }
    if (old) core->end(*old, "replaced by another subscription");
    co_return opened;
}

Task<void> Listening::run(std::shared_ptr<Listening> self) {
    auto pause = kFirstPause;
    bool gap = false;
    for (;;) {
        auto const core = self->core_.lock();
        if (!core || core->over) co_return;
        self->dirty_ = false;
        auto opening = self->open_stream();
        auto const opened = co_await std::move(opening);
        if (opened) {
            pause = kFirstPause;
            self->settle(std::nullopt);
            if (std::exchange(gap, false)) self->announce();
            bool lost = false;
            while (!self->dirty_ && !lost) {
                if (self->stream_) {
                    co_await self->stream_->wake.wait(std::chrono::hours(1));
                    lost = self->stream_->over();
                } else {
                    co_await self->changed_.wait(std::chrono::hours(1));
                }
            }
            if (!lost) continue;
            gap = true;
            core->end(*self->stream_, "");
            self->stream_.reset();
        } else {
            auto const& why = opened.error();
            self->settle(why);
            // It has no such method: there is nothing to wait for.
            if (why.rpc) {
                self->running_ = false;
                co_return;
            }
        }
        co_await base::sleep_for(pause);
        pause = std::min(pause * 2, kLongestPause);
    }
}

}  // namespace mcp
