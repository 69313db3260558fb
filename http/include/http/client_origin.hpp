#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <http/client_url.hpp>

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/verb.hpp>

#include <functional>
#include <memory>
#include <string>

namespace http {

struct OriginsOptions {
    base::milliseconds connect_limit{15'000};  ///< names, TCP and TLS together
    base::milliseconds write_limit{60'000};
    /// How long a connection is kept for the next request. Below the 5 s after which Node's servers hang up,
    /// so that a request seldom meets a connection that is just being closed.
    base::milliseconds idle_limit{4'000};
    std::size_t max_header_bytes = 32 * 1024;
    std::size_t max_idle_per_origin = 8;
    std::size_t max_connections = 256;
    /// Asked for each address that a name resolves to, before anything is sent there; absent = all.
    std::function<bool(Url const&, boost::asio::ip::address const&)> may_dial;
    std::string ca_file;  ///< PEM, beside the system's certificates
};

/// An answer whose body is read piece by piece. Its end gives the connection back when the body was read to
/// its end, else closes it, which is how a request is abandoned.
class OriginAnswer {
  public:
    virtual ~OriginAnswer() = default;
    unsigned status = 0;
    boost::beast::http::fields fields;
    std::string_view field(std::string_view name) const;  ///< "" when absent
    /// What arrived, at most 64 KiB; "" at the end. errc::timed_out after `silence` without a byte,
    /// errc::invalid for broken framing, errc::unavailable when the server closed before the body's end.
    virtual base::Task<base::Result<std::string>> receive(base::milliseconds silence) = 0;
    /// The rest as one text. errc::limit above `max_bytes`.
    base::Task<base::Result<std::string>> all(std::size_t max_bytes, base::milliseconds silence);
};

struct OriginRequest {
    boost::beast::http::verb verb = boost::beast::http::verb::get;
    Url url;
    boost::beast::http::fields fields;  ///< Host, Content-Length and Connection are ours
    std::string body;
};

/// HTTP/1.1 client towards servers outside: connections are kept per origin, TLS verifies the name with the
/// system's certificates. Follows no redirect, knows no cookie, no proxy and no cache, and sends nothing
/// twice. Threads: the I/O thread. Must outlive its requests; answers may outlive it.
class Origins {
  public:
    Origins(boost::asio::io_context&, OriginsOptions);
    ~Origins();
    /// The answer's head within `head_limit` of the request having been written. Errors name origin and step:
    /// errc::unavailable (name, connect, TLS, closed), errc::timed_out, errc::denied (may_dial), errc::busy
    /// (max_connections), errc::invalid (not HTTP), errc::limit (head too large). `sent`, when given, becomes
    /// true when bytes of the request may have left.
    base::Task<base::Result<std::unique_ptr<OriginAnswer>>> send(OriginRequest, base::milliseconds head_limit,
                                                                 bool* sent = nullptr);
    std::size_t connections() const;  ///< open ones, idle or not

  private:
    struct Pool;
    std::shared_ptr<Pool> pool_;  // shared with answers that are still read
};

}  // namespace http
