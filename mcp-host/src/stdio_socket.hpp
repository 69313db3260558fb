#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <functional>
#include <memory>
#include <string>

namespace host {

/// A Unix socket on which each connection is a stdio client: what `berth stdio` bridges to. The file's mode (0660, the
/// given group) is the credential. At most 64 clients at once; others are closed before the greeting.
/// Threads: the I/O thread.
class StdioSocket {
  public:
    /// Serves one client on the descriptor (read and write) until its input ends.
    using Serve = std::function<base::Task<void>(int fd)>;
    struct Options {
        std::string path, group;
        /// A server that exists for its clients only. Once the last one has left, or none came within 10 s, no more are
        /// let in and `on_deserted` is called, once. The last connection stays open until the process ends, so that its
        /// client's end is the server's end.
        std::function<void()> on_deserted;
    };
    StdioSocket(asio::io_context&, Serve, Options);
    ~StdioSocket();
    /// errc of the system, with the path.
    base::Status open();
    /// Lets no more in. Clients are ended by whoever serves them.
    void close();

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace host
