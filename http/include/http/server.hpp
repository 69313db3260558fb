#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <http/networks.hpp>

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace http {

namespace beast = boost::beast;
using Fields = beast::http::fields;
using Status = beast::http::status;
using Verb = beast::http::verb;

/// Who a request comes from, as the gate found it. Handles belong to the principal that made them.
struct Principal {
    std::string name;                  ///< "operator" for the node's token, "local" for the private socket
};

struct Request {
    Verb verb{};
    std::string path;                  ///< percent-encoding kept; without the query
    std::string query;                 ///< without '?'
    Fields fields;
    std::string body;
    std::string peer;                  ///< "127.0.0.1:5123", or "unix"
    Principal principal;               ///< empty name on routes that need none
    std::string_view field(std::string_view name) const;   ///< "" when absent
};

/// Where the answer goes. Exactly one of `send` or (`begin`, `write`..., `finish`) is used, from the handler's coroutine.
/// The handler's coroutine is cancelled (terminal) when the client goes away; writes then fail.
class Reply {
  public:
    virtual ~Reply() = default;
    /// A whole answer. A failure means that the client is gone or too slow; there is nobody to tell.
    virtual base::Task<base::Status> send(Status, Fields, std::string body) = 0;
    /// A body of unknown length (chunked). Each `write` is flushed to the client.
    /// With `length`, exactly so many bytes are written; fewer end the connection, so that the client sees the cut.
    virtual base::Task<base::Status> begin(Status, Fields, std::optional<std::uint64_t> length = {}) = 0;
    virtual base::Task<base::Status> write(std::string bytes) = 0;
    virtual base::Task<base::Status> finish() = 0;
    virtual bool begun() const = 0;    ///< by `send` or `begin`: the status can no longer be another
    /// On a route with `streams_body`: the next bytes of the request's body, at most 64 KiB, "" at its end. errc::limit: more than the route's max_body; errc::invalid: malformed; errc::cancelled: the client is gone, or
    /// sent nothing for body_limit.
    virtual base::Task<base::Result<std::string>> receive() = 0;
};

using Handler = std::function<base::Task<void>(Request, Reply&)>;

/// `open`: health routes, and those whose path is the credential. `local`: there is no such path but on a private socket, whatever
/// credential a request over TCP has.
enum class Access { open, token, local };

struct Route {
    std::string path;                  ///< exact, or a prefix when it ends in "/*"
    std::vector<Verb> verbs;           ///< others get 405 with Allow
    Access access = Access::token;
    std::uint64_t max_body = 0;        ///< larger gets 413 before the body is read
    Handler handler;
    bool streams_body = false;         ///< the handler takes the body piece by piece, with Reply::receive
};

/// Decided before routing, on every request and upgrade: no web page reaches the server by a name of its own (DNS rebinding), nor
/// in the name of a user who visits it.
struct GateOptions {
    std::vector<std::string> hosts;    ///< allowed Host names without port: "localhost", "127.0.0.1", "[::1]", configured ones
    std::vector<std::string> origins;  ///< allowed Origin values; loopback origins of any port are allowed when loopback hosts are
    /// Credential of "Authorization: Bearer ..." to principal; nullopt = wrong. Called only when a credential is present.
    std::function<std::optional<Principal>(std::string_view token)> authenticate;
};

struct ServerOptions {
    /// Over TCP. One peer has at most a quarter of it (and 16), all listeners for sites together half; the private
    /// sockets have a quarter (and 16) beside it.
    std::size_t max_connections = 4096;
    std::size_t max_header_bytes = 32 * 1024;  ///< and at most 256 fields
    base::milliseconds header_limit{10'000};     ///< to receive a request's head, also between keep-alive requests' first byte and end
    base::milliseconds body_limit{60'000};
    base::milliseconds idle_limit{120'000};      ///< keep-alive
    base::milliseconds write_limit{30'000};      ///< a write that makes no progress for so long ends the connection
    /// Reverse proxies: one has no limit as a peer, and to a site its requests come from whom its X-Forwarded-For names.
    Networks trusted_proxies;
};

struct TlsFiles {
    std::string certificate, key;      ///< PEM; reloaded when they change
};

struct Site;

/// What a listener answers for.
enum class Names { all, sites };

/// HTTP/1.1 listener(s) in front of one route table, and of sites on names of their own (site.hpp). Threads: the I/O thread.
class Server {
  public:
    Server(asio::io_context&, GateOptions, ServerOptions, std::vector<Route>);
    ~Server();                         ///< ends all connections at once; `stop` first lets requests end
    /// errc-like system errors name the address ("listen on 127.0.0.1:7777: Address already in use").
    /// One for `Names::sites` knows no route, whatever Host says.
    base::Result<asio::ip::tcp::endpoint> listen(std::string const& address, std::uint16_t port, std::optional<TlsFiles> tls = {},
                                                 Names names = Names::all);
    /// A non-blocking TCP socket that listens already, in another network namespace say; for `Names::sites`. With `tls` behind a
    /// certificate made for the occasion, for clients that know better than to verify it.
    base::Status listen_on(base::UniqueFd socket, bool tls);
    /// A Unix socket whose file mode is the credential (mode 0660, group): requests are authenticated as "local", and Host and Origin
    /// are not checked, because no browser reaches it.
    base::Status listen_unix(std::string const& path, std::string const& group);
    /// The first that serves a name has it. Not for the private socket, where Host means nothing.
    void add_site(Site);
    /// Stops accepting, gives requests in flight `grace` to end, then cancels them.
    base::Task<void> stop(base::milliseconds grace);
    std::size_t connections() const;   ///< open ones of all listeners, idle ones too

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace http
