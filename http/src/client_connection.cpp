#include "client_connection.hpp"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <openssl/ssl.h>

#include <sys/socket.h>

namespace http {

base::Result<std::shared_ptr<asio::ssl::context>> make_client_tls(std::string const& ca_file) {
    auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
    boost::system::error_code ec;
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    static constexpr unsigned char ours[] = "\x08http/1.1";
    SSL_CTX_set_alpn_protos(context->native_handle(), ours, sizeof(ours) - 1);
    context->set_verify_mode(asio::ssl::verify_peer, ec);
    if (!ec) context->set_default_verify_paths(ec);
    if (ec) return base::Error{ec, "load the system's certificates"};
    if (!ca_file.empty()) context->load_verify_file(ca_file, ec);
    if (ec) return base::Error{ec, "load certificates " + ca_file};
    return context;
}

OriginConnection::OriginConnection(asio::any_io_executor executor, std::string name,
                                   std::shared_ptr<asio::ssl::context> context,
                                   std::shared_ptr<std::size_t> open)
    : origin(std::move(name)),
      context_(std::move(context)),
      open_(std::move(open)),
      resolver_(executor),
      socket_(executor) {
    ++*open_;
}

OriginConnection::~OriginConnection() { --*open_; }

base::Task<base::Result<bool>> OriginConnection::open(Url url, MayDial may_dial) {
    auto const failed = [this](boost::system::error_code ec, char const* step) {
        return base::error(base::errc::unavailable, std::string(step) + ' ' + origin + ": " + ec.message());
    };
    std::vector<asio::ip::tcp::endpoint> endpoints;
    boost::system::error_code ec;
    if (auto const literal = asio::ip::make_address(url.host, ec); !ec) {
        endpoints.emplace_back(literal, url.port);
    } else {
        auto const service = std::to_string(url.port);
        auto [resolve_ec, found] = co_await resolver_.async_resolve(url.host, service, base::as_tuple);
        if (resolve_ec) co_return failed(resolve_ec, "look up");
        for (auto const& entry : found) endpoints.push_back(entry.endpoint());
    }
    if (may_dial)
        std::erase_if(endpoints, [&](auto const& endpoint) { return !may_dial(url, endpoint.address()); });
    if (endpoints.empty())
        co_return base::error(base::errc::denied,
                              origin + " is at an address that may not be reached from here");
    auto const [connect_ec, chosen] = co_await asio::async_connect(socket_, endpoints, base::as_tuple);
    if (connect_ec) co_return failed(connect_ec, "connect to");
    socket_.set_option(asio::ip::tcp::no_delay(true), ec);
    if (!context_) co_return true;
    tls_.emplace(socket_, *context_);
    boost::system::error_code literal_ec;
    asio::ip::make_address(url.host, literal_ec);
    if (literal_ec)
        SSL_set_tlsext_host_name(tls_->native_handle(), url.host.c_str());  // addresses have no SNI
    tls_->set_verify_callback(asio::ssl::host_name_verification(url.host), ec);
    auto const [tls_ec] = co_await tls_->async_handshake(asio::ssl::stream_base::client, base::as_tuple);
    if (tls_ec) co_return failed(tls_ec, "TLS with");
    co_return true;
}

base::Task<base::Result<bool>> OriginConnection::write(std::string bytes) {
    auto const buffers = asio::buffer(bytes);
    boost::system::error_code ec;
    if (tls_) {
        auto const [e, n] = co_await asio::async_write(*tls_, buffers, base::as_tuple);
        ec = e;
    } else {
        auto const [e, n] = co_await asio::async_write(socket_, buffers, base::as_tuple);
        ec = e;
    }
    if (ec) co_return base::error(base::errc::unavailable, "send to " + origin + ": " + ec.message());
    co_return true;
}

base::Task<base::Result<std::size_t>> OriginConnection::fill(std::size_t max) {
    auto const space = buffer.prepare(max);
    boost::system::error_code ec;
    std::size_t got = 0;
    if (tls_) {
        auto const [e, n] = co_await tls_->async_read_some(space, base::as_tuple);
        ec = e, got = n;
    } else {
        auto const [e, n] = co_await socket_.async_read_some(space, base::as_tuple);
        ec = e, got = n;
    }
    buffer.commit(got);
    if (ec == asio::error::eof) co_return std::size_t{0};
    if (ec) co_return base::error(base::errc::unavailable, "receive from " + origin + ": " + ec.message());
    co_return got;
}

bool OriginConnection::quiet() {
    if (buffer.size() > 0) return false;
    char byte = 0;
    auto const n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace http
