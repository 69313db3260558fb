#pragma once
#include <http/client_origin.hpp>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>

#include <optional>

namespace http {

namespace asio = boost::asio;
namespace beast = boost::beast;

/// Verifies names with the system's certificates, and those of `ca_file` when it is given.
base::Result<std::shared_ptr<asio::ssl::context>> make_client_tls(std::string const& ca_file);

/// One TCP or TLS connection to an origin. Counted in `open` while it lives. No limits of its own.
class OriginConnection {
  public:
    OriginConnection(asio::any_io_executor, std::string origin, std::shared_ptr<asio::ssl::context>,
                     std::shared_ptr<std::size_t> open);
    ~OriginConnection();
    OriginConnection(OriginConnection const&) = delete;
    OriginConnection& operator=(OriginConnection const&) = delete;

    using MayDial = std::function<bool(Url const&, asio::ip::address const&)>;
    base::Task<base::Result<bool>> open(Url url, MayDial may_dial);
    base::Task<base::Result<bool>> write(std::string bytes);
    /// Adds what arrives to `buffer`; 0 = the end.
    base::Task<base::Result<std::size_t>> fill(std::size_t max);
    /// Open, and the server has said nothing that nobody asked for.
    bool quiet();

    std::string const origin;
    beast::flat_buffer buffer;

  private:
    std::shared_ptr<asio::ssl::context> context_;
    std::shared_ptr<std::size_t> open_;
    asio::ip::tcp::resolver resolver_;
    asio::ip::tcp::socket socket_;
    std::optional<asio::ssl::stream<asio::ip::tcp::socket&>> tls_;
};

}  // namespace http
