#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <string>

namespace host {

/// Connects to the stdio socket of a running server and waits until it greets, which says that it will serve this
/// connection. Blocks for 10 s at most. errc::not_found: nobody listens; errc::denied: not a member of the socket's
/// group; errc::busy: a server that is ending, or full.
base::Result<base::UniqueFd> connect_stdio(std::string const& socket_path);

/// Waits for a request on `in`: what was read, from its first bytes on. "" when the input ended, or SIGTERM or SIGINT came, and
/// nobody had asked for anything. Blocks.
base::Result<std::string> first_request(int in);

/// Carries bytes between `in`, `out` and the connection until the server closes it; `first` is what was read of `in`
/// already, at most kMaxFirst bytes. The end of `in`, SIGTERM and SIGINT
/// end our half; the server then finishes what it does and closes. Blocks; the file flags of `in` and `out`, which
/// other processes share, are left alone. errc::timed_out: the server did not close within 30 s of the end;
/// errc::unavailable: it closed before.
base::Status bridge(int in, int out, base::UniqueFd connection, std::string const& first = "");
inline constexpr std::size_t kMaxFirst = 64 * 1024;

/// What the server says first on each connection it will serve.
inline constexpr char kStdioGreeting[] = "berth\n";

}  // namespace host
