#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace servers {

/// The last lines of what a server wrote to stderr, and what berth has to say about it. Bounded in lines,
/// bytes a line and bytes together.
class LogBuffer {
  public:
    /// Bytes as they come; lines end with \n.
    void append(std::string_view bytes);
    /// One line of our own.
    void note(std::string line);
    /// The last `count`, oldest first.
    std::vector<std::string> tail(std::size_t count) const;

  private:
    static constexpr std::size_t kMaxLine = 8 * 1024, kMaxBytes = 256 * 1024;

    void push(std::string line);

    std::deque<std::string> lines_;
    std::size_t bytes_ = 0;
    std::string partial_;
};

}  // namespace servers
