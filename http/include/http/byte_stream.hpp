#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

namespace http {

/// Bytes in both directions, over whatever carries them: a socket, a relay into a sandbox. One read and one write may
/// wait at the same time. No time limits of its own: whoever waits too long is freed by `close` or by being cancelled.
/// Threads: the I/O thread.
class ByteStream {
  public:
    virtual ~ByteStream() = default;
    /// 0 bytes is the end.
    virtual base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer) = 0;
    /// All of it.
    virtual base::Task<base::Status> write(asio::const_buffer) = 0;
    /// No more will be written; reading goes on.
    virtual void shutdown_write() = 0;
    /// Ends both directions now. Reads and writes that wait fail, as do later ones.
    virtual void close() = 0;
};

}  // namespace http
