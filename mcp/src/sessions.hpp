#pragma once
#include "endpoint.hpp"
#include "legacy_peer.hpp"
#include "stream.hpp"

// Sessions of the legacy eras over HTTP.
namespace mcp {

struct HttpSession {
    HttpSession(Endpoint& endpoint, std::string owner);
    ~HttpSession() { end(); }

    std::string const id, principal;
    std::shared_ptr<EventLog> const log;
    std::shared_ptr<Stream> const unsolicited;  ///< what a plain GET shows
    std::shared_ptr<LegacyPeer> const peer;
    std::map<std::uint64_t, std::shared_ptr<Stream>> streams;  ///< of POSTs
    base::Clock::time_point used = base::Clock::now();

    std::shared_ptr<Stream> open_stream(asio::any_io_executor executor);
    /// Forgets streams that nobody can take up any more.
    void tidy();
    bool busy() const { return unsolicited->attached || !peer->in_flight.empty(); }
    /// Cancels its calls and ends its streams.
    void end();

  private:
    std::uint64_t next_stream_ = 2;
};

/// Bounded in number and idle time; a session is found only by the principal that opened it.
class Sessions {
  public:
    explicit Sessions(Endpoint& endpoint) : endpoint_(endpoint) {}
    /// Takes the place of the one idle longest when all are taken; null when all are busy.
    std::shared_ptr<HttpSession> create(std::string principal);
    std::shared_ptr<HttpSession> find(std::string_view id, std::string const& principal);
    void remove(HttpSession& session);
    void end_all();

  private:
    bool stale(HttpSession const& session) const;
    Endpoint& endpoint_;
    std::map<std::string, std::shared_ptr<HttpSession>, std::less<>> sessions_;
};

}  // namespace mcp
