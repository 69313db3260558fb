#include "sessions.hpp"

#include <base/ids.hpp>

namespace mcp {
namespace {

constexpr std::size_t kTidyAbove = 32;

}  // namespace

HttpSession::HttpSession(Endpoint& endpoint, std::string owner)
    : id(base::random_id()),
      principal(std::move(owner)),
      log(std::make_shared<EventLog>(endpoint.options.max_event_log_bytes)),
      unsolicited(std::make_shared<Stream>(endpoint.executor)),
      peer(std::make_shared<LegacyPeer>(endpoint.executor, endpoint.listeners, unsolicited,
                                        endpoint.options.question_limit)) {
    unsolicited->keep_in(log, 1, false);
}

std::shared_ptr<Stream> HttpSession::open_stream(asio::any_io_executor executor) {
    tidy();
    auto stream = std::make_shared<Stream>(std::move(executor));
    auto const number = next_stream_++;
    stream->keep_in(log, number, peer->version >= "2025-11-25");
    streams.emplace(number, stream);
    return stream;
}

void HttpSession::tidy() {
    if (streams.size() < kTidyAbove) return;
    std::erase_if(streams, [this](auto const& entry) {
        auto const& stream = *entry.second;
        return stream.ended && !stream.attached && !log->has(entry.first);
    });
}

void HttpSession::end() {
    auto const calls = std::exchange(peer->in_flight, {});
    for (auto const& [key, running] : calls) running->cancel();
    for (auto const& [number, stream] : streams) stream->end();
    unsolicited->end();
}

bool Sessions::stale(HttpSession const& session) const {
    return !session.busy() && base::Clock::now() - session.used > endpoint_.options.session_idle_limit;
}

std::shared_ptr<HttpSession> Sessions::create(std::string principal) {
    std::erase_if(sessions_, [this](auto const& entry) { return stale(*entry.second); });
    if (sessions_.size() >= endpoint_.options.max_sessions) {
        auto oldest = sessions_.end();
        for (auto it = sessions_.begin(); it != sessions_.end(); ++it)
            if (!it->second->busy() && (oldest == sessions_.end() || it->second->used < oldest->second->used))
                oldest = it;
        if (oldest == sessions_.end()) return nullptr;
        sessions_.erase(oldest);
    }
    auto session = std::make_shared<HttpSession>(endpoint_, std::move(principal));
    sessions_.emplace(session->id, session);
    return session;
}

std::shared_ptr<HttpSession> Sessions::find(std::string_view id, std::string const& principal) {
    auto const it = sessions_.find(id);
    if (it == sessions_.end() || it->second->principal != principal) return nullptr;
    if (stale(*it->second)) {
        sessions_.erase(it);
        return nullptr;
    }
    it->second->used = base::Clock::now();
    return it->second;
}

void Sessions::remove(HttpSession& session) {
    session.end();
    sessions_.erase(session.id);
}

void Sessions::end_all() {
    auto const all = std::exchange(sessions_, {});
    for (auto const& [id, session] : all) session->end();
}

}  // namespace mcp
