#pragma once
#include <base/byte_stream.hpp>

namespace testing_support {

/// A TCP connection as the parts behind http see one.
class SocketStream final : public base::ByteStream {
  public:
    explicit SocketStream(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}
    static base::Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(std::uint16_t port) {
        asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
        asio::ip::tcp::endpoint const endpoint(asio::ip::make_address("127.0.0.1"), port);
        auto [ec] = co_await socket.async_connect(endpoint, base::as_tuple);
        if (ec) co_return base::error(base::errc::unavailable, "connect: " + ec.message());
        std::unique_ptr<base::ByteStream> made = std::make_unique<SocketStream>(std::move(socket));
        co_return made;
    }
    base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto [ec, n] = co_await socket_.async_read_some(buffer, base::as_tuple);
        if (ec == asio::error::eof) co_return std::size_t{0};
        if (ec) co_return base::error(base::errc::unavailable, ec.message());
        co_return n;
    }
    base::Task<base::Status> write(asio::const_buffer buffer) override {
        auto [ec, n] = co_await asio::async_write(socket_, buffer, base::as_tuple);
        if (ec) co_return base::error(base::errc::unavailable, ec.message());
        co_return base::Status();
    }
    void shutdown_write() override {
        boost::system::error_code ignored;
        socket_.shutdown(asio::socket_base::shutdown_send, ignored);
    }
    void close() override {
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

  private:
    asio::ip::tcp::socket socket_;
};

/// A server that reads until the connection holds `mark`, says what it was told, and keeps what it read. One connection
/// after the other, each with the next of `answers`.
class ScriptedServer {
  public:
    ScriptedServer(asio::io_context& io, std::vector<std::string> answers, std::string mark = "\r\n\r\n")
        : acceptor_(io, {asio::ip::make_address("127.0.0.1"), 0}) {
        asio::co_spawn(io, run(std::move(answers), std::move(mark)), asio::detached);
    }
    std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    std::vector<std::string> const& seen() const { return *seen_; }
    void close() { acceptor_.close(); }

  private:
    base::Task<void> run(std::vector<std::string> answers, std::string mark) {
        auto seen = seen_;
        for (auto const& answer : answers) {
            auto [ec, socket] = co_await acceptor_.async_accept(base::as_tuple);
            if (ec) co_return;
            seen->emplace_back();
            std::string& all = seen->back();
            char bytes[4096];
            while (all.find(mark) == all.npos) {
                auto [failed, n] = co_await socket.async_read_some(asio::buffer(bytes), base::as_tuple);
                if (failed) break;
                all.append(bytes, n);
            }
            co_await asio::async_write(socket, asio::buffer(answer), base::as_tuple);
        }
    }
    asio::ip::tcp::acceptor acceptor_;
    std::shared_ptr<std::vector<std::string>> seen_ = std::make_shared<std::vector<std::string>>();
};

}  // namespace testing_support
