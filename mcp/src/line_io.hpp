#pragma once
#include "rpc.hpp"
#include "wake.hpp"
#include <base/unique_fd.hpp>

#include <deque>

namespace mcp {

/// A borrowed descriptor, read and written without blocking where the kernel can tell readiness (pipes,
/// sockets, terminals), directly where it cannot (regular files, which never make one wait). Puts the file's
/// flags back at its end.
class Descriptor {
  public:
    Descriptor(asio::any_io_executor executor, int fd);
    ~Descriptor();
    Descriptor(Descriptor const&) = delete;
    Descriptor& operator=(Descriptor const&) = delete;
    Task<std::pair<boost::system::error_code, std::size_t>> read_some(asio::mutable_buffer);
    Task<boost::system::error_code> write_all(std::string const& bytes);

  private:
    base::UniqueFd direct_;
    asio::posix::stream_descriptor polled_;
    int borrowed_ = -1, flags_ = -1;
};

class LineReader {
  public:
    LineReader(asio::any_io_executor executor, int fd, std::size_t max_line)
        : in_(std::move(executor), fd), max_(max_line) {}
    enum class Kind { line, too_long, end };
    struct Line {
        Kind kind = Kind::end;
        std::string text;
    };
    /// The next line without its end; the rest of the input when it ends without one. A line over the limit
    /// is skipped to its end and reported once.
    Task<Line> next();

  private:
    Descriptor in_;
    std::size_t max_;
    std::string buffer_;
    std::size_t begin_ = 0, searched_ = 0;
    bool skipping_ = false, ended_ = false;
};

/// Lines out, in order, from any number of senders.
class LineWriter final : public Outlet, public std::enable_shared_from_this<LineWriter> {
  public:
    LineWriter(asio::any_io_executor executor, int fd);
    void start();
    bool notify(std::string message) override;
    void deliver(std::string message) override;
    /// Waits until the peer has taken most of what was said: what keeps a reader from collecting answers
    /// nobody reads.
    Task<void> caught_up();
    /// Waits at most `limit` for everything to be written; then writes no more.
    Task<void> finish(base::milliseconds limit);

  private:
    static Task<void> run(std::shared_ptr<LineWriter> self);
    asio::any_io_executor executor_;
    Descriptor out_;
    std::deque<std::string> queue_;
    std::size_t bytes_ = 0;
    bool writing_ = false, closed_ = false;
    Wake more_, less_;
    Running running_;
};

}  // namespace mcp
