#include "upstream.hpp"

#include <base/timeout.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>

// The login of a server reached by URL: what is kept of it is used, hidden and, when it ends, asked for.
namespace servers {
namespace {

constexpr base::milliseconds kLastAnswers{2'000}, kPoll{10};
constexpr std::size_t kMaxGiven = 8;  // renewed ones are good for a while beside the new

}  // namespace

std::shared_ptr<mcp::Authorization> Upstream::authorization() {
    if (!login_) return nullptr;
    login_->on_record = [weak = weak_from_this()](base::Secret const& record) {
        auto const self = weak.lock();
        if (!self) return;
        auto& given = self->given_;
        for (auto& secret : mcp::oauth_secrets(record)) {
            bool const known = std::any_of(given.begin(), given.end(),
                                           [&](auto const& one) { return one.matches(secret.reveal()); });
            if (!known) given.push_back(std::move(secret));
        }
        while (given.size() > kMaxGiven) given.pop_front();
        self->hide_again();
    };
    login_->on_wanted = [weak = weak_from_this()] {
        auto const self = weak.lock();
        if (!self) return;
        self->login_wanted_ = true;
        if (self->connection_)
            asio::co_spawn(self->around_.io, self->lose_login(self->connection_), asio::detached);
    };
    return mcp::oauth(around_.io, entry_.url, oauth_options(entry_), login_);
}

void Upstream::hide_again() {
    redactor_ = Redactor(entry_);
    for (auto const& secret : given_) redactor_.hide("login", secret);
}

/// It ran, and what was granted is over.
Task<void> Upstream::lose_login(std::shared_ptr<Connection> connection) {
    auto const self = shared_from_this();
    if (connection_ != connection) co_return;
    connection_.reset();
    connection->over = true;
    closing_ = true;
    life_.needs_login("its login is over, or grants too little");
    log_->note("it asks for a login: " + next_step());
    spdlog::warn("server {} asks for a login: {}", entry_.name, next_step());
    around_.records.audit_lazy("servers/" + entry_.name, "login over", mcp::Json::object());
    // Who met it hears why, and not that the connection was closed.
    auto const patience = base::Clock::now() + kLastAnswers;
    while (connection->client->in_flight() > 0 && base::Clock::now() < patience) co_await base::sleep_for(kPoll);
    co_await end(connection);
    closing_ = false;
    changed_.notify();
    around_.changed();
}

Task<void> Upstream::login_again() {
    auto const self = shared_from_this();
    login_->seen();
    co_await stop("its login changed", true);
}

std::string Upstream::next_step() const {
    auto const state = life_.state();
    if (login_ && state == State::needs_login) return login_->command();
    return state == State::backing_off || state == State::failed ? advice_ : std::string();
}

}  // namespace servers
