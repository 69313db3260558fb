#pragma once
#include "rpc.hpp"
#include "wake.hpp"
#include <http/server.hpp>

#include <deque>

namespace mcp {

class EventLog;

/// What goes back for one POST, or on a session's GET stream. Messages queue here; one HTTP reply at a time
/// writes them. In a legacy session they are also logged under "<stream>-<number>", so that a later GET can
/// take up the rest.
class Stream final : public Outlet {
  public:
    explicit Stream(asio::any_io_executor executor) : wake(std::move(executor)) {}
    void keep_in(std::shared_ptr<EventLog> log, std::uint64_t id, bool primed);

    bool notify(std::string message) override;
    void deliver(std::string message) override;
    /// The response: sent as plain JSON if nothing went before it.
    void finish(std::string response, int http_status);
    /// No (further) response: the request was cancelled, or the session ended.
    void end();
    /// Ends the HTTP reply but not the stream.
    void close_reply(base::milliseconds retry);

    struct Event;
    /// For the next reply: what the client has not seen yet.
    void resume(std::deque<Event> events);
    void detach();

    struct Event {
        std::uint64_t number = 0;
        std::shared_ptr<std::string const> text;
    };
    std::deque<Event> pending;  ///< for the attached reply
    std::string response;       ///< plain
    int http_status = 200;
    bool begun = false;  ///< an event stream was begun: no plain response any more
    bool ended = false;
    std::optional<base::milliseconds> retry;  ///< set by close_reply
    unsigned generation = 0;                  ///< counts replies; an older one gives way
    bool attached = false;
    std::uint64_t id = 0;  ///< 0 = events have no ids
    bool primed = false;   ///< begins with an id and no data (2025-11-25)
    Wake wake;

  private:
    void push(std::string message);
    std::shared_ptr<EventLog> log_;
    std::uint64_t next_ = 1;
    std::size_t bytes_ = 0;
    friend struct Delivery;
};

/// The last events of a session's streams, bounded in bytes.
class EventLog {
  public:
    explicit EventLog(std::size_t max_bytes) : max_(max_bytes) {}
    void add(std::uint64_t stream, Stream::Event event);
    std::deque<Stream::Event> after(std::uint64_t stream, std::uint64_t number) const;
    bool has(std::uint64_t stream) const;

  private:
    struct Entry {
        std::uint64_t stream;
        Stream::Event event;
    };
    std::size_t max_, bytes_ = 0;
    std::deque<Entry> entries_;
};

/// Writes a stream to one HTTP reply until it ends, gives way to a newer reply, or the client is gone.
struct Delivery {
    std::shared_ptr<Stream> stream;
    http::Reply& reply;
    http::Fields fields;  ///< of the answer, e.g. the session id
    base::milliseconds keep_alive;

    enum class Outcome { done, gave_way, gone };
    /// `at_once`: begins the event stream before there is an event.
    Task<Outcome> run(bool at_once = false);

  private:
    Task<bool> begin();
    Task<bool> write_event(Stream::Event event);
    std::string event_id(std::uint64_t number) const;
};

}  // namespace mcp
