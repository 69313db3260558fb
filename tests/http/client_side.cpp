#include <http/client.hpp>
#include <testing/io.hpp>
#include <testing/socket_stream.hpp>

#include <doctest/doctest.h>

using base::Task;
using testing_support::ScriptedServer;
using testing_support::SocketStream;

namespace {

struct Outcome {
    base::Result<http::ResponseHead> head = http::ResponseHead{};
    std::string body;
    base::Status ended;
    bool reusable = false;
};

http::ClientRequest simple(std::string method = "GET", std::string target = "/") {
    http::ClientRequest r;
    r.method = std::move(method);
    r.target = std::move(target);
    r.fields.set("Host", "app.test");
    return r;
}

/// One request to a server that answers with exactly these bytes, and then closes.
Outcome answered(std::string bytes, http::ClientRequest request = simple(), http::ClientLimits limits = {}) {
    testing_support::Io io;
    ScriptedServer server(io.context, {std::move(bytes)});
    auto ask = [](std::uint16_t port, http::ClientRequest r, http::ClientLimits l) -> Task<Outcome> {
        Outcome o;
        auto stream = co_await SocketStream::connect(port);
        http::ClientConnection c(std::move(*stream), l);
        o.ended = co_await c.begin(std::move(r));
        o.head = co_await c.response();
        while (o.head) {
            auto piece = co_await c.receive();
            if (!piece) o.ended = piece.error();
            if (!piece || piece->empty()) break;
            o.body += *piece;
        }
        o.reusable = c.reusable();
        co_return o;
    };
    return io.run(ask(server.port(), std::move(request), limits));
}

}  // namespace

TEST_CASE("an answer's body ends where its framing says") {
    SUBCASE("by length, and the connection can be used again") {
        auto const o = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        CHECK(o.body == "hello");
        CHECK(o.head->length == 5);
        CHECK(o.reusable);
    }
    SUBCASE("by chunks") {
        auto const o = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\nT: 1\r\n\r\n");
        CHECK(o.body == "hello");
        CHECK_FALSE(o.head->length.has_value());
        CHECK(o.reusable);
    }
    SUBCASE("by the end of the connection") {
        auto const o = answered("HTTP/1.0 200 OK\r\n\r\nhello");
        CHECK(o.body == "hello");
        CHECK(o.ended.has_value());
        CHECK_FALSE(o.reusable);
    }
    SUBCASE("at once for HEAD, 204 and 304") {
        auto const head = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", simple("HEAD"));
        CHECK(head.body.empty());
        CHECK(head.head->length == 5);
        CHECK(head.reusable);
        CHECK(answered("HTTP/1.1 204 No Content\r\n\r\n").reusable);
        CHECK(answered("HTTP/1.1 304 Not Modified\r\n\r\n").reusable);
    }
    SUBCASE("and bytes behind it make the connection useless") {
        CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhello").reusable);
        CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").reusable);
    }
}

TEST_CASE("an answer that is cut short is an error, not an end") {
    CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").ended.has_value());
    CHECK_FALSE(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").ended.has_value());
    CHECK(base::is(answered("").head.error(), base::errc::unavailable));
    CHECK(base::is(answered("HTTP/1.1 200").head.error(), base::errc::unavailable));
}

TEST_CASE("an answer that can be read in two ways is refused") {
    for (std::string const head :
         {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nab",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx",
          "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
          "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
          "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\nx", "220 smtp.test\r\n\r\n", "SSH-2.0-x\r\n\r\n"}) {
        CAPTURE(head);
        auto const o = answered(head);
        REQUIRE_FALSE(o.head.has_value());
        CHECK(base::is(o.head.error(), base::errc::invalid));
    }
    auto const chunk = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n");
    CHECK_FALSE(chunk.ended.has_value());
    CHECK(chunk.body.empty());
}

TEST_CASE("limits of an answer's head") {
    http::ClientLimits limits;
    limits.max_head_bytes = 1000;
    auto const large = answered("HTTP/1.1 200 OK\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", simple(), limits);
    CHECK(base::is(large.head.error(), base::errc::limit));
    std::string many;
    for (int i = 0; i < 3; ++i) many += "HTTP/1.1 103 Early Hints\r\n\r\n";
    CHECK(answered(many + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").body == "a");
    for (int i = 0; i < 30; ++i) many += "HTTP/1.1 100 Continue\r\n\r\n";
    CHECK_FALSE(answered(many).head.has_value());
}

TEST_CASE("a request is written as one, or not at all") {
    testing_support::Io io;
    ScriptedServer server(io.context, {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, "0\r\n\r\n");
    io.run([](std::uint16_t port) -> Task<void> {
        auto stream = co_await SocketStream::connect(port);
        http::ClientConnection c(std::move(*stream));
        for (std::string const bad : {"/a b", "/a\r\nX: y", "a", "", "/\x7f"}) {
            auto request = simple("GET", bad);
            auto const begun = co_await c.begin(std::move(request));
            CHECK_FALSE(begun.has_value());
        }
        auto upload = simple("POST", "/up?x=%20");
        upload.has_body = true;
        upload.fields.set("Transfer-Encoding", "gzip");
        upload.fields.set("Content-Length", "77");
        upload.fields.set("Connection", "X-Secret");
        auto done = co_await c.begin(std::move(upload));
        CHECK(done.has_value());
        done = co_await c.write("");
        done = co_await c.write("hello");
        done = co_await c.finish();
        auto const head = co_await c.response();
        CHECK(head.has_value());
        auto const piece = co_await c.receive();
        CHECK(c.reusable());
    }(server.port()));
    REQUIRE(server.seen().size() == 1);
    CHECK(server.seen()[0] ==
          "POST /up?x=%20 HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
}

TEST_CASE("a body with a stated length is never longer or shorter") {
    testing_support::Io io;
    ScriptedServer server(io.context, {""});
    io.run([](std::uint16_t port) -> Task<void> {
        auto stream = co_await SocketStream::connect(port);
        http::ClientConnection c(std::move(*stream));
        auto upload = simple("PUT");
        upload.has_body = true;
        upload.length = 3;
        auto done = co_await c.begin(std::move(upload));
        done = co_await c.write("toolong");
        CHECK_FALSE(done.has_value());
        done = co_await c.write("ab");
        CHECK(done.has_value());
        done = co_await c.finish();
        CHECK_FALSE(done.has_value());
        CHECK_FALSE(c.reusable());
    }(server.port()));
}

TEST_CASE("an upgrade hands over the stream, with what came behind the head") {
    testing_support::Io io;
    ScriptedServer server(io.context, {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nearly"});
    io.run([](std::uint16_t port) -> Task<void> {
        auto stream = co_await SocketStream::connect(port);
        http::ClientConnection c(std::move(*stream));
        auto request = simple();
        request.fields.set("Upgrade", "websocket");
        auto const begun = co_await c.begin(std::move(request));
        auto const head = co_await c.response();
        REQUIRE(head.has_value());
        CHECK(static_cast<unsigned>(head->status) == 101);
        auto const raw = c.upgraded();
        REQUIRE(raw);
        char bytes[3];
        std::string all;
        for (;;) {
            auto const n = co_await raw->read_some(asio::buffer(bytes));
            if (!n || *n == 0) break;
            all.append(bytes, *n);
        }
        CHECK(all == "early");
    }(server.port()));
    CHECK(server.seen()[0].find("Connection: Upgrade\r\n") != std::string::npos);
}

TEST_CASE("idle connections are kept for a while, and only whole ones") {
    testing_support::Io io;
    std::string const whole = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    ScriptedServer server(io.context, {whole, whole, whole, whole});
    http::Client::Options options;
    options.idle_limit = base::milliseconds(60'000);
    http::Client client(options);
    auto once = [](http::Client& c, std::uint16_t port, bool may_reuse) -> Task<bool> {
        http::Client::Connect connect = [port] { return SocketStream::connect(port); };
        auto taken = co_await c.take(std::move(connect), may_reuse);
        if (taken->reused) co_return true;
        auto request = simple();
        auto const begun = co_await taken->connection->begin(std::move(request));
        auto const head = co_await taken->connection->response();
        auto const body = co_await taken->connection->receive();
        c.give_back(taken->connection);
        co_return false;
    };
    CHECK_FALSE(io.run(once(client, server.port(), true)));
    CHECK_FALSE(io.run(once(client, server.port(), false)));  // not for a request that must not be repeated
    CHECK(io.run(once(client, server.port(), true)));
    CHECK(io.run(once(client, server.port(), true)));
    CHECK_FALSE(io.run(once(client, server.port(), true)));   // both were taken, and not given back
    CHECK_FALSE(client.prune());
}
