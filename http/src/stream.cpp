#include "stream.hpp"

namespace http {

Stream::Stream(Socket socket, std::shared_ptr<asio::ssl::context> tls)
    : context_(std::move(tls)), socket_(std::move(socket)) {
    if (context_) tls_.emplace(socket_, *context_);
}

base::Task<base::Status> Stream::handshake() {
    if (!tls_) co_return base::Status();
    auto [ec] = co_await tls_->async_handshake(asio::ssl::stream_base::server, base::as_tuple);
    if (ec) co_return base::Error{ec, "handshake"};
    co_return base::Status();
}

base::Task<Stream::Count> Stream::read_some(asio::mutable_buffer buffer) {
    if (tls_) {
        auto [ec, n] = co_await tls_->async_read_some(buffer, base::as_tuple);
        if (ec) co_return base::Error{ec, "read"};
        co_return n;
    }
    auto [ec, n] = co_await socket_.async_read_some(buffer, base::as_tuple);
    if (ec) co_return base::Error{ec, "read"};
    co_return n;
}

base::Task<Stream::Count> Stream::write_some(std::array<asio::const_buffer, 3> const& buffers) {
    if (tls_) {
        auto [ec, n] = co_await tls_->async_write_some(buffers, base::as_tuple);
        if (ec) co_return base::Error{ec, "write"};
        co_return n;
    }
    auto [ec, n] = co_await socket_.async_write_some(buffers, base::as_tuple);
    if (ec) co_return base::Error{ec, "write"};
    co_return n;
}

base::Task<void> Stream::end_writing() {
    if (tls_) co_await tls_->async_shutdown(base::as_tuple);
    boost::system::error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

void Stream::close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
}

}  // namespace http
