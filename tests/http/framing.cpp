#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;

// Each head could be read in two ways by two parsers. The second request that rides along must never be
// served.
TEST_CASE("a head that is open to two readings gets one 400 and the connection closes") {
    std::string const start = "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n";
    std::string const rider = "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n";
    std::string const line = "POST /echo HTTP/1.1\r\n";
    std::string const rest = "Host: localhost\r\nAuthorization: Bearer right\r\n\r\n";
    std::vector<std::string> const heads{
        start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        start + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        start + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        start + "Content-Length: 0, 0\r\n\r\n",
        start + "Content-Length: +0\r\n\r\n",
        start + "Content-Length: -1\r\n\r\n",
        start + "Content-Length: 0x0\r\n\r\n",
        start + "Content-Length: 0 0\r\n\r\n",
        start + "Content-Length:\r\n\r\n",
        start + "Content-Length : 0\r\n\r\n",
        start + "Transfer-Encoding: gzip\r\n\r\n",
        start + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: xchunked\r\n\r\n",
        start + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\n\r\n1\nab\n0\n\n",
        start + "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
        start + "X: a\nY: b\r\n\r\n",
        start + "X: a\r\n b\r\n\r\n",
        start + "X: a\r\n\tContent-Length: 5\r\n\r\n",
        start + "X: a\rY: b\r\n\r\n",
        start + std::string("X: a\0b\r\n\r\n", 10),
        start + "X Y: b\r\n\r\n",
        start + ": b\r\n\r\n",
        start + "X\r\n\r\n",
        "POST /echo HTTP/1.1\nHost: localhost\nAuthorization: Bearer right\n\n",
        "\r\n" + rider,
        " " + rider,
        "POST  /echo HTTP/1.1\r\n" + rest,
        "POST /echo  HTTP/1.1\r\n" + rest,
        "POST\t/echo\tHTTP/1.1\r\n" + rest,
        "POST /ec ho HTTP/1.1\r\n" + rest,
        "POST /echo\r\n" + rest,
        "POST /echo HTTP/0.9\r\n" + rest,
        "POST /echo HTTP/2.0\r\n" + rest,
        "POST /echo http/1.1\r\n" + rest,
        "POST echo HTTP/1.1\r\n" + rest,
        "POST http://localhost/echo HTTP/1.1\r\n" + rest,
        "POST http://evil.example/echo HTTP/1.1\r\n" + rest,
        "POST /echo#x HTTP/1.1\r\n" + rest,
        "OPTIONS * HTTP/1.1\r\n" + rest,
        "CONNECT localhost:80 HTTP/1.1\r\n" + rest,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        line + " Host: localhost\r\nAuthorization: Bearer right\r\n\r\n",
        "POST /echo HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer right\r\nTransfer-Encoding: "
        "chunked\r\n\r\n0\r\n\r\n",
        std::string("\x16\x03\x01\x02\x00\x01", 6)};
    Fixture f;
    for (auto const& head : heads) {
        CAPTURE(head);
        f.seen.requests = 0;
        auto const all = f.ask_all(head + rider);
        CHECK(all.starts_with("HTTP/1.1 400 "));
        CHECK(all.find("Connection: close\r\n") != std::string::npos);
        CHECK(all.find("HTTP/1.1", 1) == std::string::npos);
        CHECK(f.seen.requests == 0);
    }
    CHECK(f.ask(rider).status == 200);
}

TEST_CASE("a refused body is never taken for the next request") {
    Fixture f;
    std::string const inner = "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n";
    for (auto const* first : {"POST /none", "PUT /echo", "POST /health"}) {
        CAPTURE(first);
        auto const all =
            f.ask_all(std::string(first) + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n" +
                      "Content-Length: " + std::to_string(inner.size()) + "\r\n\r\n" + inner);
        CHECK(all.find("HTTP/1.1", 1) == std::string::npos);
    }
    CHECK(f.seen.requests == 0);
}
