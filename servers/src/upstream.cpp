#include "upstream.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

// One server as its callers have it: running when it is used, one turn a call, ended when that is over.
namespace servers {
namespace {

using base::errc;
using base::error;
using mcp::Json;

constexpr std::size_t kCallsShown = 10;
constexpr base::milliseconds kStep{500};  // how soon a waiter looks whether it was cancelled

}  // namespace

Upstream::Upstream(Surroundings& around, config::ServerEntry entry)
    : around_(around),
      entry_(std::move(entry)),
      life_(entry_),
      redactor_(entry_),
      changed_(around.io.get_executor()),
      turns_(around.io.get_executor()),
      runner_(package_runner(entry_)) {
    if (entry_.problem.empty() && entry_.may_log_in())
        login_ = std::make_shared<KeptLogin>(around.pad.pool, around.logins, entry_.name,
                                             around.login_command(entry_.name));
}

void Upstream::reconfigure(config::ServerEntry entry) {
    entry_ = std::move(entry);
    runner_ = package_runner(entry_);
    hide_again();
    auto apply = [](std::shared_ptr<Upstream> self) -> Task<void> {
        co_await self->apply_pins();
        self->around_.changed();
    };
    asio::co_spawn(around_.io, apply(shared_from_this()), asio::detached);
    turns_.notify();
}

Task<Result<std::shared_ptr<Connection>>> Upstream::use() {
    auto const self = shared_from_this();
    auto const longest = start_limit(entry_, runner_ ? std::optional(Fetch::registry) : std::nullopt);
    auto const give_up = base::Clock::now() + 2 * longest;
    for (;;) {
        if (retired_)
            co_return error(errc::unavailable, "server " + entry_.name + " was taken away or changed");
        last_used_ = base::Clock::now();
        if (!closing_) {
            switch (life_.wanted(base::Clock::now())) {
                case Lifecycle::Answer::use:
                    co_return connection_;
                case Lifecycle::Answer::start:
                    asio::co_spawn(around_.io, start(), asio::detached);
                    break;
                case Lifecycle::Answer::wait:
                    break;
                case Lifecycle::Answer::refuse: {
                    auto why =
                        "server " + entry_.name + " is " + to_string(life_.state()) + ": " + life_.reason();
                    if (life_.state() == State::backing_off) {
                        auto const left = std::chrono::duration_cast<base::milliseconds>(life_.next_try() -
                                                                                         base::Clock::now());
                        why += "; the next try is in " +
                               std::to_string(std::max<std::int64_t>(left.count(), 0) / 1000 + 1) + " s";
                    } else if (life_.state() == State::failed) {
                        why += "; server_restart tries again";
                    } else if (life_.state() == State::needs_login) {
                        why = "server " + entry_.name + " needs a login: its operator runs " + next_step();
                    }
                    co_return error(errc::unavailable, redactor_.text(why));
                }
            }
        }
        if (base::Clock::now() > give_up)
            co_return error(errc::timed_out, "server " + entry_.name + " is still starting");
        co_await changed_.wait(kStep);
    }
}

void Upstream::connection_failed(Connection& connection, std::string reason) {
    connection.over = true;
    if (connection_.get() != &connection) return;  // while starting, `start` sees it
    auto const gone = std::exchange(connection_, nullptr);
    closing_ = true;
    asio::co_spawn(around_.io, bury(gone, std::move(reason)), asio::detached);
}

Task<void> Upstream::bury(std::shared_ptr<Connection> connection, std::string reason) {
    auto const self = shared_from_this();
    try {
        if (connection->program) {
            auto const cause = co_await connection->program->cause();
            if (!cause.empty()) reason += " (" + cause + ")";
        }
        reason = redactor_.text(reason);
    } catch (std::exception const& e) {
        reason = std::string("it ended, and why is not known: ") + e.what();
    }
    life_.died(base::Clock::now(), reason, random_part());
    log_->note("ended: " + reason);
    spdlog::warn("server {} ended: {}", entry_.name, reason);
    around_.records.audit_lazy("servers/" + entry_.name, "server ended", {{"reason", reason}});
    co_await end(connection);
    closing_ = false;
    changed_.notify();
    around_.changed();
}

Task<void> Upstream::end(std::shared_ptr<Connection> connection) {
    connection->over = true;
    if (connection->client) co_await connection->client->close();
    if (connection->program) co_await connection->program->end();
}

Task<void> Upstream::cut(std::shared_ptr<Connection> connection) {
    auto const self = shared_from_this();
    if (connection->client) co_await connection->client->close();
}

Task<void> Upstream::retire(std::string why) {
    retired_ = true;
    changed_.notify();
    turns_.notify();
    co_await stop(std::move(why), false);
}

Task<void> Upstream::stop(std::string why, bool forget_failures) {
    auto const self = shared_from_this();
    // A start under way comes to its end first, which is made soon: what it made is then known.
    cut_short_ = life_.state() == State::starting;
    if (auto const connection = starting_; cut_short_ && connection) co_await cut(connection);
    while (life_.state() == State::starting || closing_) co_await changed_.wait(kStep);
    if (auto const asleep = std::exchange(sleeping_, nullptr)) co_await end(asleep);
    if (auto const connection = std::exchange(connection_, nullptr)) {
        closing_ = true;
        life_.stopped();
        log_->note("stopped: " + why);
        co_await end(connection);
        closing_ = false;
    }
    if (forget_failures) life_.reset();
    changed_.notify();
    around_.changed();
}

Task<Result<Upstream::Turn>> Upstream::take_turn() {
    auto const self = shared_from_this();
    auto const now = base::Clock::now();
    if (now - minute_ >= std::chrono::minutes(1)) minute_ = now, this_minute_ = 0;
    if (entry_.calls_per_minute > 0 && this_minute_ >= entry_.calls_per_minute)
        co_return error(errc::busy, "server " + entry_.name + " takes " +
                                        std::to_string(entry_.calls_per_minute) +
                                        " calls a minute (callsPerMinute); try again in a minute");
    ++this_minute_;
    auto const give_up = now + entry_.call_timeout;
    while (in_flight_ >= entry_.max_concurrent_calls) {
        if (retired_)
            co_return error(errc::unavailable, "server " + entry_.name + " was taken away or changed");
        if (base::Clock::now() > give_up)
            co_return error(errc::busy,
                            "server " + entry_.name + " has " + std::to_string(in_flight_) +
                                " calls in flight (maxConcurrentCalls), and none of them ended in time");
        co_await turns_.wait(kStep);
    }
    co_return Turn(self);
}

void Upstream::turn_over() {
    --in_flight_;
    last_used_ = base::Clock::now();
    turns_.notify();
}

void Upstream::remember(Json audited) {
    audited.erase("arguments_sha256");  // of use to those who have the arguments, in the trail itself
    last_calls_.push_back(std::move(audited));
    if (last_calls_.size() > kCallsShown) last_calls_.pop_front();
}

Json Upstream::roots() const {
    Json roots = Json::array();
    if (!own_roots()) return {{"roots", roots}};  // asked outside any call: nobody to pass it to
    roots.push_back({{"uri", "file:///workspace"}, {"name", "workspace"}});
    for (auto const* list : {&entry_.sandbox.allow_read, &entry_.sandbox.allow_write})
        for (auto const& path : *list)
            roots.push_back({{"uri", "file://" + path}, {"name", path.substr(path.rfind('/') + 1)}});
    return {{"roots", std::move(roots)}};
}

}  // namespace servers
