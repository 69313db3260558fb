#include "passage.hpp"
#include "upstream.hpp"

#include <algorithm>

// What clients want of a server beside their calls. Resources that they watch: the server is started for them and told of
// each, also after its end, a wake or a change of its entry, and told when nobody watches one any more. How much it logs, what
// their roots are, and when a page that it sent them to is done with.
namespace servers {
namespace {

constexpr std::size_t kMaxWatched = 1000, kMaxMoved = 1000, kMaxCompletions = 256;

}  // namespace

void Upstream::watch(std::string const& uri) {
    if (watched_.size() >= kMaxWatched || !watched_.insert(uri).second) return;
    asio::co_spawn(around_.io, serve_watchers(), asio::detached);
}

Task<void> Upstream::serve_watchers() {
    auto const self = shared_from_this();
    auto const started = co_await use();  // a failure stands in its state, and is tried again when that allows it
    if (started) co_await tend_watches();
}

bool Upstream::watches_differ() const {
    if (!connection_ || connection_->over || connection_->tending) return false;
    auto const& told = connection_->asked_to_watch;
    return told.size() != watched_.size() ||
           !std::equal(told.begin(), told.end(), watched_.begin(), [](auto const& t, auto const& w) { return t.first == w; });
}

Task<void> Upstream::tend_watches() {
    auto const self = shared_from_this();
    auto const connection = connection_;
    if (!watches_differ()) co_return;
    connection->tending = true;
    struct Done {
        ~Done() { tending = false; }
        bool& tending;
    } const done{connection->tending};
    auto& told = connection->asked_to_watch;
    std::string next;
    bool on = false;
    auto const find_next = [&] {  // anew each time: others change both meanwhile
        for (auto const& uri : watched_)
            if (!told.contains(uri)) return next = uri, on = true;
        for (auto const& [uri, agreed] : told)
            if (!watched_.contains(uri)) return next = uri, on = false, true;
        return false;
    };
    while (!connection->over && find_next()) {
        if (on) {
            told[next] = false;
            auto const agreed = co_await connection->client->subscribe(next);
            if (agreed)
                told[next] = true;
            else
                log_->note("does not watch " + redactor_.text(next.substr(0, 200) + ": " + mcp::to_string(agreed.error())));
        } else {
            bool const agreed = told[next];
            told.erase(next);
            if (agreed) (void)co_await connection->client->unsubscribe(next);
        }
    }
}

bool Upstream::missed_by_watchers() const {
    if (retired_ || closing_) return false;
    if (connection_) return watches_differ();
    bool const rested = life_.state() == State::asleep;
    return !watched_.empty() &&
           (rested || (life_.state() == State::backing_off && base::Clock::now() >= life_.next_try()));
}

Task<void> Upstream::tune_log(std::shared_ptr<Connection> connection) {
    auto const self = shared_from_this();
    auto level = mcp::LogLevel::info;
    for (auto const* passage : passages) level = std::min(level, passage->log_level());
    auto const& facts = connection->client->server();
    if (level == connection->log_level || facts.era != mcp::Era::legacy || !facts.capabilities.is_object() ||
        !facts.capabilities.contains("logging"))
        co_return;
    connection->log_level = level;
    (void)co_await connection->client->set_log_level(level);
}

void Upstream::expect_completion(mcp::Json const& elicitation, mcp::Call const& asked) {
    auto const id = text_of(elicitation, "elicitationId");
    auto tell = asked.completion_notice();
    if (id.empty() || id.size() > 1024 || !tell) return;
    std::erase_if(completions_, [&](auto const& one) { return one.first == id; });
    completions_.emplace_back(id, std::move(tell));
    if (completions_.size() > kMaxCompletions) completions_.pop_front();
}

void Upstream::roots_changed(std::string const& principal) {
    if (own_roots()) return;
    bool const flying = std::any_of(passages.begin(), passages.end(),
                                    [&](auto const* passage) { return passage->principal() == principal; });
    if (flying && connection_)
        connection_->client->roots_changed();
    else if (moved_.size() < kMaxMoved)
        moved_.insert(principal);
}

void Upstream::call_begins(Connection& connection, std::string const& principal) {
    if (moved_.erase(principal) > 0) connection.client->roots_changed();
}

}  // namespace servers
