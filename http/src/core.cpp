#include "core.hpp"

#include "authority.hpp"
#include "connection.hpp"
#include <base/timeout.hpp>

#include <poll.h>

#include <algorithm>

namespace http {
namespace {

using namespace std::chrono_literals;

/// Parts of max_connections, but never fewer than the least.
constexpr std::size_t kLocalShare = 4, kPeerShare = 4, kLeastShare = 16;

/// Often enough that a limit is kept within a quarter of itself, and a departed client noticed within 100 ms.
base::milliseconds sweep_interval(ServerOptions const& o) {
    auto const shortest = std::min({o.header_limit, o.body_limit, o.idle_limit, o.write_limit});
    return std::clamp(shortest / 4, base::milliseconds(10), base::milliseconds(100));
}

}  // namespace

Core::Core(asio::io_context& io, GateOptions gate, ServerOptions options, std::vector<Route> routes)
    : io_(io),
      gate_(std::move(gate)),
      router_(std::move(routes)),
      options_(options),
      interval_(sweep_interval(options)),
      sweep_timer_(io),
      room_timer_(io) {}

Site const* Core::site_for(Fields const& fields, std::string& name) const {
    if (sites_.empty() || fields.count(beast::http::field::host) != 1) return nullptr;
    auto const host = host_name(fields[beast::http::field::host]);
    if (!host) return nullptr;
    name = *host;
    auto const at = std::find_if(sites_.begin(), sites_.end(), [&](Site const& s) { return s.serves(name); });
    return at == sites_.end() ? nullptr : &*at;
}

void Core::add(Connection& connection) {
    connections_.insert(&connection);
    ++open_[static_cast<std::size_t>(connection.from())];
    if (connection.from() != From::local) ++networks_[connection.network()];
    if (!armed_) arm();
}

void Core::remove(Connection& connection) {
    connections_.erase(&connection);
    --open_[static_cast<std::size_t>(connection.from())];
    auto const network = networks_.find(connection.network());
    if (connection.from() != From::local && network != networks_.end() && --network->second == 0)
        networks_.erase(network);
    room_timer_.cancel();
    if (connections_.empty())
        sweep_timer_.cancel();  // an idle server leaves no work behind in the io_context
}

bool Core::full(From from) const {
    auto const max = options_.max_connections;
    auto const local = open_[static_cast<std::size_t>(From::local)];
    if (from == From::local) return local >= std::max(max / kLocalShare, kLeastShare);
    auto const sites = open_[static_cast<std::size_t>(From::sites)];
    if (from == From::sites && sites >= std::max<std::size_t>(max / 2, 1)) return true;
    return connections_.size() - local >= max;
}

bool Core::admits(std::string const& network) const {
    auto const at = networks_.find(network);
    return at == networks_.end() || at->second < std::max(options_.max_connections / kPeerShare, kLeastShare);
}

base::Task<bool> Core::room(From from) {
    while (!stopping_ && full(from)) {
        // Setting the time would wake the other listeners that wait here, and they this one.
        if (room_timer_.expiry() <= base::Clock::now()) room_timer_.expires_after(1s);
        co_await room_timer_.async_wait(base::as_tuple);
    }
    co_return !stopping_;
}

void Core::arm() {
    armed_ = true;
    sweep_timer_.expires_after(interval_);
    sweep_timer_.async_wait([weak = weak_from_this()](boost::system::error_code) {
        auto const self = weak.lock();
        if (!self) return;
        self->armed_ = false;
        if (self->connections_.empty()) return;
        self->sweep();
        self->arm();
    });
}

void Core::sweep() {
    auto const now = base::Clock::now();
    Held late, watched;
    std::vector<pollfd> polls;
    for (auto* connection : connections_) {
        if (connection->deadline() <= now) {
            late.push_back(connection->shared_from_this());
        } else if (connection->handling()) {
            // POLLRDHUP, not readability: bytes of a next request are no departure, and hide none behind
            // them. It holds for TLS as well. A client that only shuts its sending side down counts as gone.
            polls.push_back({connection->descriptor(), POLLRDHUP, 0});
            watched.push_back(connection->shared_from_this());
        }
    }
    if (!polls.empty()) ::poll(polls.data(), polls.size(), 0);
    for (std::size_t i = 0; i < polls.size(); ++i)
        if (polls[i].revents) watched[i]->abandon();
    for (auto const& connection : late) connection->abandon();
}

Core::Held Core::hold() const {
    Held all;
    for (auto* connection : connections_) all.push_back(connection->shared_from_this());
    return all;
}

void Core::begin_stop() {
    stopping_ = true;
    room_timer_.cancel();
    for (auto const& connection : hold())
        if (connection->idle()) connection->abandon();
}

base::Task<bool> Core::drained(base::milliseconds limit) {
    auto const end = base::Clock::now() + limit;
    while (!connections_.empty() && base::Clock::now() < end) co_await base::sleep_for(10ms);
    co_return connections_.empty();
}

void Core::cancel_handlers() {
    for (auto const& connection : hold()) connection->cancel();
}

void Core::close_all() {
    for (auto const& connection : hold()) connection->abandon();
}

}  // namespace http
