// Bodies that a handler takes and gives piece by piece.
#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;

namespace {

struct Received {
    std::string bytes;
    int pieces = 0, calls = 0;
    std::string failure;
};

std::vector<http::Route> body_routes(Received& seen) {
    auto upload = [&seen](http::Request request, http::Reply& reply) -> Task<void> {
        ++seen.calls;
        http::Fields fields;
        if (request.query == "ignore") {
            (void)co_await reply.send(http::Status::ok, std::move(fields), "no thanks");
            co_return;
        }
        for (;;) {
            auto piece = co_await reply.receive();
            if (!piece) {
                seen.failure = piece.error().message();
                (void)co_await reply.send(http::Status::payload_too_large, std::move(fields), seen.failure);
                co_return;
            }
            if (piece->empty()) break;
            ++seen.pieces;
            seen.bytes += *piece;
        }
        std::string size = std::to_string(seen.bytes.size());
        (void)co_await reply.send(http::Status::ok, std::move(fields), std::move(size));
    };
    auto download = [](http::Request request, http::Reply& reply) -> Task<void> {
        http::Fields fields;
        auto begun = co_await reply.begin(http::Status::ok, std::move(fields), 10);
        if (begun) begun = co_await reply.write("01234");
        if (begun && request.query != "short") begun = co_await reply.write("56789");
        if (begun && request.query == "long") begun = co_await reply.write("x");
        (void)co_await reply.finish();
    };
    std::vector<http::Route> routes;
    routes.push_back({"/upload", {http::Verb::put}, http::Access::open, 100'000, upload, true});
    routes.push_back({"/download", {http::Verb::get, http::Verb::head}, http::Access::open, 0, download});
    return routes;
}

struct Bodies {
    explicit Bodies(http::ServerOptions options = {}) : server(io.context, gate(), options, body_routes(seen)) {
        port = server.listen("127.0.0.1", 0).value().port();
    }
    std::string ask_all(std::string bytes) {
        return io.run([](Bodies& f, std::string request) -> Task<std::string> {
            Client client(f.io.context);
            co_await client.connect(f.port);
            co_await client.send(std::move(request));
            client.socket().shutdown(Client::Socket::shutdown_send);
            co_return co_await client.rest();
        }(*this, std::move(bytes)));
    }
    testing_support::Io io;
    Received seen;
    http::Server server;
    std::uint16_t port = 0;
};

std::string put(std::string const& more, std::string const& body, std::string const& query = {}) {
    return "PUT /upload" + query + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n" + body;
}
std::string sized(std::string const& body, std::string const& query = {}) {
    return put("Content-Length: " + std::to_string(body.size()) + "\r\n", body, query);
}

}  // namespace

TEST_CASE("a body that its handler takes") {
    Bodies f;
    std::string const large(100'000, 'u');

    SUBCASE("arrives in pieces, and the connection stays for the next request") {
        f.io.run([](Bodies& x, std::string body) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            auto request = sized(body);
            auto answer = co_await client.ask(std::move(request));
            CHECK(answer.body == "100000");
            request = "GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n";
            answer = co_await client.ask(std::move(request));
            CHECK(answer.body == "0123456789");
        }(f, large));
        CHECK(f.seen.bytes == large);
        CHECK(f.seen.pieces > 1);
    }
    SUBCASE("may be chunked, and empty") {
        auto answer = f.ask_all(put("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"));
        CHECK(f.seen.bytes == "abcde");
        CHECK(answer.ends_with("\r\n\r\n5"));
        f.seen = {};
        answer = f.ask_all(sized(""));
        CHECK(f.seen.calls == 1);
        CHECK(answer.ends_with("\r\n\r\n0"));
    }
    SUBCASE("is handed on while the client still sends") {
        f.io.run([](Bodies& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            auto first = put("Content-Length: 10\r\n", "01234");
            co_await client.send(std::move(first));
            while (x.seen.bytes.size() < 5) co_await base::sleep_for(base::milliseconds(5));
            co_await client.send("56789");
            auto const answer = co_await client.answer();
            CHECK(answer.body == "10");
        }(f));
    }
    SUBCASE("is invited when the client asks first") {
        f.io.run([](Bodies& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            auto head = put("Content-Length: 2\r\nExpect: 100-continue\r\n", "");
            co_await client.send(std::move(head));
            auto const told = co_await client.until("\r\n\r\n");
            CHECK(told == "HTTP/1.1 100 Continue\r\n\r\n");
            co_await client.send("ok");
            auto const answer = co_await client.answer();
            CHECK(answer.body == "2");
        }(f));
    }
    SUBCASE("larger than allowed is refused: before the handler when it says so, else on the way") {
        auto answer = f.ask_all(sized(std::string(100'001, 'x')));
        CHECK(answer.starts_with("HTTP/1.1 413"));
        CHECK(f.seen.calls == 0);
        std::string chunks;
        for (int i = 0; i < 101; ++i) chunks += "3e8\r\n" + std::string(1000, 'x') + "\r\n";
        answer = f.ask_all(put("Transfer-Encoding: chunked\r\n", chunks + "0\r\n\r\n"));
        CHECK(answer.starts_with("HTTP/1.1 413"));
        CHECK(f.seen.failure == "the body is larger than allowed");
        CHECK(f.seen.bytes.size() <= 100'000);
    }
    SUBCASE("malformed, or cut off, is no end of a body") {
        auto answer = f.ask_all(put("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\nzz\r\n"));
        CHECK(f.seen.failure == "malformed body");
        CHECK(answer.find("Connection: close") != answer.npos);
        f.seen = {};
        answer = f.ask_all(put("Content-Length: 10\r\n", "01234"));
        CHECK(f.seen.failure == "the client is gone");
    }
    SUBCASE("that nobody takes is not read as the next request") {
        auto const answer = f.ask_all(sized("GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n", "?ignore"));
        CHECK(answer.find("no thanks") != answer.npos);
        CHECK(answer.find("Connection: close") != answer.npos);
        CHECK(answer.find("0123456789") == answer.npos);
    }
}

TEST_CASE("a body that stalls ends with its limit") {
    http::ServerOptions options;
    options.body_limit = base::milliseconds(50);
    Bodies f(options);
    f.io.run([](Bodies& x) -> Task<void> {
        Client client(x.io.context);
        co_await client.connect(x.port);
        auto first = put("Content-Length: 10\r\n", "01234");
        co_await client.send(std::move(first));
        auto const rest = co_await client.rest();
        CHECK(rest.empty());
    }(f));
    CHECK(f.seen.failure == "the client is gone");
}

TEST_CASE("an answer of a length that was said") {
    Bodies f;
    auto const get_from = [&](char const* query) {
        return f.ask_all(std::string("GET /download") + query + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    };
    SUBCASE("has it") {
        auto const answer = f.io.run([](Bodies& x) -> Task<Answer> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_return co_await client.ask("GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }(f));
        CHECK(answer.has("Content-Length: 10\r\n"));
        CHECK(!answer.has("chunked"));
        CHECK(answer.body == "0123456789");
    }
    SUBCASE("never exceeds it, and is cut by the connection's end when it falls short") {
        CHECK(get_from("?long").find('x') == std::string::npos);
        CHECK(!get_from("?short").ends_with("56789"));
    }
}
