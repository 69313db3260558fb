#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mcp {

/// One event of a text/event-stream. Without data it only moves the position or the retry time.
struct StreamEvent {
    std::string type = "message";
    std::optional<std::string> data;
    std::optional<std::string> id;
    std::optional<base::milliseconds> retry;
};

/// Cuts text/event-stream into events (WHATWG HTML, 9.2.6): any of the three line ends, comments dropped, a
/// byte order mark skipped. Bounded: errc::limit when a line or an event passes `max_bytes`.
class EventParser {
  public:
    explicit EventParser(std::size_t max_bytes) : max_(max_bytes) {}
    base::Result<std::vector<StreamEvent>> feed(std::string_view bytes);

  private:
    void take_line(std::string_view line, std::vector<StreamEvent>& out);
    std::size_t max_;
    std::string line_;
    StreamEvent event_;
    bool first_ = true, after_cr_ = false, dirty_ = false;
    std::size_t event_bytes_ = 0;
};

}  // namespace mcp
