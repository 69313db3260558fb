#pragma once
#include <base/asio.hpp>
#include <http/server.hpp>
#include <mcp/features.hpp>

#include <memory>

namespace mcp {

struct ServerOptions {
    std::size_t max_message_bytes = 16 << 20;
    int max_depth = 64;
    std::size_t max_in_flight_per_connection = 64;  ///< stdio; further requests wait in the pipe
    std::size_t max_sessions = 1024;                ///< legacy HTTP
    base::milliseconds session_idle_limit{3'600'000};
    base::milliseconds task_after{2'000};  ///< a tool that may be a task becomes one when it takes longer
    base::milliseconds task_ttl{3'600'000};
    base::milliseconds question_limit{300'000};  ///< legacy: how long a client may take to answer
    std::size_t page_size = 100;                 ///< entries of tools/list and prompts/list
    base::milliseconds keep_alive{15'000};       ///< comment lines on a silent response stream
    base::milliseconds state_ttl{600'000};  ///< how long a client may take from one round to the next (MRTR)
    std::size_t max_tasks = 1024;
    std::size_t max_event_log_bytes = 1 << 20;  ///< legacy HTTP: what a session keeps for resuming
};

/// Both eras over both transports, in front of one `Features`. Threads: the I/O thread. Must outlive its
/// transports' coroutines.
class Server {
  public:
    Server(asio::io_context&, Features, ServerOptions = {});
    ~Server();
    Hub& hub();  ///< good for the server's life

    /// Serves one stdio connection until its input ends; then cancels what is in flight and returns. `in` and
    /// `out` are borrowed descriptors (0 and 1, or a socket's two ends); nothing but protocol is written to
    /// `out`.
    Task<void> serve_stdio(int in, int out, Caller);
    /// POST, GET and DELETE of the MCP endpoint; the principal comes from the gate, toolsets from the query.
    http::Handler http_handler();
    /// The tool of that name, if this caller may use it. Good for as long as it is held and the server lives.
    std::shared_ptr<Tool const> tool(std::string const& name, Caller const&) const;
    /// Ends sessions, listens and calls in flight.
    Task<void> stop();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace mcp
