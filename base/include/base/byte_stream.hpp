#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

namespace base {

/// Bytes in both directions, over whatever carries them: a socket, a relay into a sandbox, a server's stdin and stdout.
/// One read and one write may wait at the same time, each cancellable. No time limits of its own: whoever waits too
/// long is freed by `close` or by being cancelled. Threads: the I/O thread.
class ByteStream {
  public:
    virtual ~ByteStream() = default;  ///< as close()
    /// 0 bytes is the end.
    virtual Task<Result<std::size_t>> read_some(asio::mutable_buffer) = 0;
    /// All of it; waits while the other side does not read.
    virtual Task<Status> write(asio::const_buffer) = 0;
    /// No more will be written; reading goes on.
    virtual void shutdown_write() = 0;
    /// Ends both directions now. Reads and writes that wait fail soon, not from inside; later ones fail as well.
    virtual void close() = 0;
};

}  // namespace base
