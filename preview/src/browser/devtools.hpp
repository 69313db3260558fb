#pragma once
#include <base/asio.hpp>
#include <base/json.hpp>
#include <base/unique_fd.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace preview {

/// Chromium's DevTools protocol over its pipe: JSON messages, each ended by NUL. What comes from there may be
/// a stranger's doing, so a message that is no JSON ends the wire, one that is too long is dropped, and all
/// together are bounded. Threads: the I/O thread.
class DevTools : public std::enable_shared_from_this<DevTools> {
  public:
    using Json = base::Json;
    static std::shared_ptr<DevTools> open(asio::io_context&, base::UniqueFd wire);

    /// Called for each event. Must not throw.
    std::function<void(std::string const& method, Json const& params)> on_event;
    /// Commands go to this target, but for those of the domains Target and Browser, which are the browser's
    /// own.
    std::string session;

    /// The result. errc::timed_out, errc::invalid with the browser's reason, errc::unavailable once the wire
    /// has ended.
    base::Task<base::Result<Json>> call(std::string method, Json params, base::milliseconds limit);
    /// A command whose answer is of no interest.
    void post(std::string method, Json params);
    bool ended() const { return ended_; }
    void close();

  private:
    struct Answer {
        explicit Answer(asio::io_context& io) : arrived(io) {}
        asio::steady_timer arrived;
        std::optional<base::Result<Json>> result;
    };
    DevTools(asio::io_context& io) : io_(io), socket_(io) {}
    static base::Task<void> read(std::shared_ptr<DevTools>);
    static base::Task<void> write(std::shared_ptr<DevTools>);
    int send(std::string method, Json params);
    void take(std::string_view message);

    asio::io_context& io_;
    asio::generic::stream_protocol::socket socket_;
    std::deque<std::string> outgoing_;
    std::map<int, std::shared_ptr<Answer>> waiting_;
    int last_id_ = 0;
    bool writing_ = false, ended_ = false;
};

}  // namespace preview
