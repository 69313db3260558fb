#pragma once
#include <base/timeout.hpp>
#include <http/server.hpp>

#include <stdexcept>
#include <testing/io.hpp>

namespace http_test {

using base::Task;

struct Answer {
    int status = 0;
    std::string head, body;
    bool has(std::string_view text) const { return head.find(text) != head.npos; }
};

/// A client that sends exactly the bytes it is told to.
class Client {
  public:
    using Socket = asio::generic::stream_protocol::socket;

    explicit Client(asio::io_context& io) : socket_(io) {}

    Task<void> connect(std::uint16_t port) {
        asio::ip::tcp::endpoint const endpoint(asio::ip::make_address("127.0.0.1"), port);
        asio::generic::stream_protocol::endpoint const generic(endpoint);
        co_await socket_.async_connect(generic, asio::use_awaitable);
    }
    Task<void> connect(std::string path) {
        asio::local::stream_protocol::endpoint const endpoint(path);
        asio::generic::stream_protocol::endpoint const generic(endpoint);
        co_await socket_.async_connect(generic, asio::use_awaitable);
    }
    /// Ignores failure: the server may have closed already, and said why.
    Task<void> send(std::string bytes) {
        auto const buffer = asio::buffer(bytes);
        co_await asio::async_write(socket_, buffer, base::as_tuple);
    }
    /// What was received up to and with `mark`.
    Task<std::string> until(std::string mark) {
        while (received_.find(mark) == received_.npos) {
            bool const more = co_await fill();
            if (!more) throw std::runtime_error("the connection ended before \"" + mark + "\": " + received_);
        }
        auto const size = received_.find(mark) + mark.size();
        auto result = received_.substr(0, size);
        received_.erase(0, size);
        co_return result;
    }
    /// One answer with a Content-Length, or none at all.
    Task<Answer> answer(bool has_body = true) {
        Answer result;
        result.head = co_await until("\r\n\r\n");
        result.status = std::stoi(result.head.substr(9, 3));
        auto const at = result.head.find("Content-Length: ");
        if (at == result.head.npos || !has_body) co_return result;
        std::size_t const size = std::stoul(result.head.substr(at + 16));
        while (received_.size() < size) {
            bool const more = co_await fill();
            if (!more) throw std::runtime_error("the connection ended inside a body");
        }
        result.body = received_.substr(0, size);
        received_.erase(0, size);
        co_return result;
    }
    Task<Answer> ask(std::string bytes) {
        co_await send(std::move(bytes));
        co_return co_await answer();
    }
    /// Everything until the server ends the connection.
    Task<std::string> rest() {
        bool more = true;
        while (more) more = co_await fill();
        co_return std::move(received_);
    }
    void close() { socket_.close(); }
    Socket& socket() { return socket_; }

  private:
    Task<bool> fill() {
        char bytes[4096];
        auto const buffer = asio::buffer(bytes);
        auto [ec, n] = co_await socket_.async_read_some(buffer, base::as_tuple);
        received_.append(bytes, n);
        co_return !ec && n > 0;
    }

    Socket socket_;
    std::string received_;
};

/// What the test's handlers saw.
struct Seen {
    int requests = 0;
    http::Request last;
    bool cancelled = false;
    bool waiting = false;
    base::Status write_failure;
};

inline http::GateOptions gate() {
    http::GateOptions options;
    options.hosts = {"localhost", "127.0.0.1", "[::1]", "berth.example"};
    options.origins = {"https://app.example"};
    options.authenticate = [](std::string_view token) -> std::optional<http::Principal> {
        if (token != "right") return std::nullopt;
        return http::Principal{"operator"};
    };
    return options;
}

/// /health (open), /echo (token, 1000 bytes), /tree/*, /wait (until cancelled), /throw, /silent, /stream, /private (local).
std::vector<http::Route> routes(Seen&);

struct Fixture {
    explicit Fixture(http::ServerOptions options = {}) : server(io.context, gate(), options, routes(seen)) {
        port = server.listen("127.0.0.1", 0).value().port();
    }
    /// One request on a connection of its own.
    Answer ask(std::string bytes) {
        return io.run([](Fixture& f, std::string request) -> Task<Answer> {
            Client client(f.io.context);
            co_await client.connect(f.port);
            co_return co_await client.ask(std::move(request));
        }(*this, std::move(bytes)));
    }
    /// The same, to the connection's end.
    std::string ask_all(std::string bytes) {
        return io.run([](Fixture& f, std::string request) -> Task<std::string> {
            Client client(f.io.context);
            co_await client.connect(f.port);
            co_await client.send(std::move(request));
            co_return co_await client.rest();
        }(*this, std::move(bytes)));
    }
    Task<void> until(bool const& condition) {
        while (!condition) co_await base::sleep_for(base::milliseconds(5));
    }
    /// The server notices the end of a connection in its own time.
    Task<void> until_idle() {
        while (server.connections() > 0) co_await base::sleep_for(base::milliseconds(5));
    }

    testing_support::Io io;
    Seen seen;
    http::Server server;
    std::uint16_t port = 0;
};

inline std::string get(std::string const& path, std::string const& more = {}) {
    return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n" + more + "\r\n";
}
inline std::string post(std::string const& path, std::string const& body, std::string const& more = {}) {
    return "POST " + path +
           " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

}  // namespace http_test
