#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <config/servers.hpp>

#include <memory>
#include <string>

// Logging in to a server reached by URL that asks for OAuth: the operator's part, done once in a browser. A running
// berth finds what is kept here by itself.
namespace servers {

/// The operator's browser. Threads: the I/O thread.
class Browser {
  public:
    virtual ~Browser() = default;
    /// A loopback address that the browser can come back to, listened on from now on; `last` again where that can be.
    virtual base::Task<base::Result<std::string>> redirect_uri(std::string last) = 0;
    /// Has `url` opened, and waits for the whole URL that the browser comes back to. errc::timed_out.
    virtual base::Task<base::Result<std::string>> authorize(std::string url) = 0;
};

struct LoggedIn {
    std::string name;       ///< what the server calls itself, "" when it does not say
    std::size_t tools = 0;  ///< that it offers with this login
};

/// Logs in to the server of `entry` anew, whatever was kept for it, and tries what it got. `directory` is that of
/// servers::Options. errc::invalid: the entry is none to log in to, or the server asks for no login. What was kept
/// stays when this fails.
base::Task<base::Result<LoggedIn>> log_in(asio::io_context& io, std::string directory, config::ServerEntry entry,
                                          std::string version, std::shared_ptr<Browser> browser);
struct LoggedOut {
    bool revoked = false;  ///< at the authorization server too
    std::string why_not;   ///< "": it offers no revocation
};

/// Forgets the login of the server of `entry`, then has its tokens revoked where that is offered. errc::not_found when there is
/// none.
base::Task<base::Result<LoggedOut>> log_out(asio::io_context& io, std::string directory, config::ServerEntry entry);

}  // namespace servers
