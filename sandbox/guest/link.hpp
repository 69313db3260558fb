#pragma once
#include "loop.hpp"

#include <sandbox/protocol.hpp>

#include <nlohmann/json.hpp>

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace guest {

using Json = nlohmann::json;
namespace protocol = sandbox::protocol;

/// The guest's end of the channel. The server is trusted, but may be replaced at any byte: an attach frame drops what the
/// old one left, queued answers and half received messages alike.
class Link {
  public:
    Link(Loop&, int in, int out);

    std::function<void(std::uint32_t id, Json request, std::string_view raw)> on_request;
    std::function<void(protocol::Frame const&)> on_stream;
    std::function<void()> on_parsed;      ///< all frames that have come so far were handed on
    std::function<void()> on_attach;      ///< a new server: forget whom the old one left waiting
    std::function<void()> on_drained;     ///< the queue fell below kLowWater again

    /// Leaves at once, with all that waited before it.
    void reply(std::uint32_t id, Json const& body, std::string_view raw = {});
    void fail(std::uint32_t id, char const* code, std::string const& message);
    /// Leaves before the loop waits again, in one write with what other streams have to say.
    void send(protocol::Kind, std::uint32_t id, std::string_view payload = {});
    /// Streams hold back while true, so that the queue holds answers and little else.
    bool congested() const { return queue_.size() - sent_ > kLowWater; }

  private:
    static constexpr std::size_t kLowWater = 256 * 1024;
    static constexpr std::size_t kKept = 512 * 1024;      // of an empty queue's memory

    void readable(std::uint32_t events);
    void parse();
    void attach(std::string_view nonce);
    void message(protocol::Frame const&);
    void flush();

    Loop& loop_;
    int in_, out_;
    std::string buffer_;
    std::map<std::uint32_t, std::string> partial_;
    std::size_t partial_bytes_ = 0;
    std::string queue_;
    std::size_t sent_ = 0;                // of its front
    bool blocked_ = false;                // the FIFO is full: readiness flushes
};

}  // namespace guest
