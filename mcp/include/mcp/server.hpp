#pragma once
#include <base/asio.hpp>
#include <http/server.hpp>
#include <mcp/features.hpp>

#include <memory>

namespace mcp {

struct ServerOptions {
    std::size_t max_message_bytes = 16 << 20;
    int max_depth = 64;
    int max_in_flight_per_connection = 64;         ///< stdio; further requests wait in the pipe
    int max_sessions = 1024;                       ///< legacy HTTP
    base::milliseconds session_idle_limit{3'600'000};
    base::milliseconds task_after{2'000};          ///< a tool that may be a task becomes one when it takes longer
    base::milliseconds task_ttl{3'600'000};
    base::milliseconds question_limit{300'000};    ///< legacy: how long a client may take to answer
};

/// Both eras over both transports, in front of one `Features`. Threads: the I/O thread. Must outlive its transports' coroutines.
class Server {
  public:
    Server(asio::io_context&, Features, ServerOptions = {});
    ~Server();
    Hub& hub();

    /// Serves one stdio connection until its input ends; then cancels what is in flight and returns. `in` and `out` are borrowed
    /// descriptors (0 and 1, or a socket's two ends); nothing but protocol is written to `out`.
    Task<void> serve_stdio(int in, int out, Caller);
    /// POST, GET and DELETE of the MCP endpoint; the principal comes from the gate, toolsets from the query.
    http::Handler http_handler();
    /// Ends sessions, listens and calls in flight.
    Task<void> stop();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace mcp
