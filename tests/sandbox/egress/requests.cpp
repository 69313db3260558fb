#include <egress/request.hpp>

#include <doctest/doctest.h>

using namespace sandbox::egress;

namespace {

std::string with(std::string const& fields) { return "GET http://a.example/ HTTP/1.1\r\n" + fields + "\r\n"; }

std::size_t feed(Body& body, std::string const& bytes, std::size_t piece) {
    std::size_t taken = 0;
    for (std::size_t at = 0; at < bytes.size() && !body.done() && !body.bad(); at += piece)
        taken += body.take(std::string_view(bytes).substr(at, piece));
    return taken;
}

}  // namespace

TEST_CASE("a request to the proxy") {
    SUBCASE("opens a tunnel with CONNECT") {
        auto const r = parse_request("CONNECT Example.com:443 HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\n\r\n");
        REQUIRE(r.has_value());
        CHECK(r->connect);
        CHECK(r->host == "example.com");
        CHECK(r->port == 443);
        auto const v6 = parse_request("CONNECT [2001:DB8::1]:8443 HTTP/1.0\r\n\r\n");
        REQUIRE(v6.has_value());
        CHECK(v6->host == "2001:db8::1");
    }
    SUBCASE("goes on in origin form, for the host that was checked, without what is between it and the proxy") {
        auto const r = parse_request(
            "POST http://A.example:8080/p?q=1 HTTP/1.1\r\nHost: evil.example\r\nProxy-Connection: keep-alive\r\n"
            "Proxy-Authorization: Basic x\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\nX-Keep:  2 \r\nUpgrade: h2c\r\n"
            "TE: trailers\r\nContent-Length: 5\r\n\r\n");
        REQUIRE(r.has_value());
        CHECK_FALSE(r->connect);
        CHECK(r->content_length == 5);
        CHECK(r->head ==
              "POST /p?q=1 HTTP/1.1\r\nHost: a.example:8080\r\nX-Keep: 2\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    }
    SUBCASE("has a path even when the target has none, and keeps the framing whatever Connection names") {
        auto const bare = parse_request("GET http://a.example?x HTTP/1.0\r\n\r\n");
        REQUIRE(bare.has_value());
        CHECK(bare->head == "GET /?x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        auto const framed = parse_request(with("Connection: Transfer-Encoding\r\nTransfer-Encoding: Chunked\r\n"));
        REQUIRE(framed.has_value());
        CHECK(framed->chunked);
        CHECK(framed->head.find("Transfer-Encoding: Chunked\r\n") != std::string::npos);
    }
    SUBCASE("is refused when two readers could differ about it") {
        std::string const table[] = {
            "",
            "\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://a.example/ HTTP/1.1\r\n\r\n",
            "GET ftp://a.example/ HTTP/1.1\r\n\r\n",
            "GET http:///x HTTP/1.1\r\n\r\n",
            "GET http://u@a.example/ HTTP/1.1\r\n\r\n",
            "GET http://u:p@a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example:0/ HTTP/1.1\r\n\r\n",
            "GET http://a.example:99999/ HTTP/1.1\r\n\r\n",
            "GET http://127.1/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/#f HTTP/1.1\r\n\r\n",
            "GET http://a.example/ x HTTP/1.1\r\n\r\n",
            "GET  http://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/ HTTP/2.0\r\n\r\n",
            "G(T http://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/\x01 HTTP/1.1\r\n\r\n",
            "GET http://a.example/\xC3\xA9 HTTP/1.1\r\n\r\n",
            "CONNECT a.example HTTP/1.1\r\n\r\n",
            "CONNECT :443 HTTP/1.1\r\n\r\n",
            "CONNECT ::1:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
            "CONNECT http://a.example:443 HTTP/1.1\r\n\r\n",
            with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            with("Content-Length: 1\r\nContent-Length: 1\r\n"),
            with("Content-Length: 1, 1\r\n"),
            with("Content-Length: +1\r\n"),
            with("Content-Length: 0x1\r\n"),
            with("Content-Length: 99999999999999999999\r\n"),
            with("Content-Length:\r\n"),
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            with("Transfer-Encoding: gzip, chunked\r\n"),
            with("Transfer-Encoding: identity\r\n"),
            with("Transfer-Encoding: \x0B"
                 "chunked\r\n"),
            "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            with("Name : x\r\n"),
            with(" folded\r\n"),
            with("X: a\r\n b\r\n"),
            with("no colon\r\n"),
            with(": empty\r\n"),
            with("X: a\nY: b\r\n"),
            with("X: a\rY: b\r\n"),
            with(std::string("X: a\0b\r\n", 8)),
            with("X: " + std::string(kMaxHead, 'a') + "\r\n"),
            "GET http://a.example/ HTTP/1.1\r\nX: unfinished",
            "GET http://a.example/ HTTP/1.1\n\n",
        };
        for (auto const& head : table) {
            INFO(head.substr(0, 200));
            auto const r = parse_request(head);
            REQUIRE_FALSE(r.has_value());
            CHECK(base::is(r.error(), base::errc::invalid));
            CHECK(r.error().context.size() > 10);
        }
    }
}

TEST_CASE("a request's body") {
    Request plain, chunked, none;
    plain.content_length = 5;
    chunked.chunked = true;

    SUBCASE("ends where its framing says, however the bytes are cut") {
        std::string const wire = "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
        for (std::size_t piece = 1; piece <= wire.size() + 4; ++piece) {
            Body body(chunked);
            CHECK(feed(body, wire + "NEXT", piece) == wire.size());
            CHECK(body.done());
            Body fixed(plain);
            CHECK(feed(fixed, "helloNEXT", piece) == 5);
            CHECK(fixed.done());
        }
        CHECK(Body(none).done());
    }
    SUBCASE("is bad when its chunks are malformed, and no byte from there on is taken") {
        for (auto const* wire : {"\r\n", "g\r\n", "5\nhello", "5\r\nhelloX", "5\r\nhello\rX", "-1\r\n", " 5\r\n", "0x5\r\n",
                                 "0\r\nA: b\n\r\n", "0\r\n\rX", "1000000000000000\r\n", "5;a\nb\r\n"}) {
            INFO(wire);
            Body body(chunked);
            feed(body, wire, 1);
            CHECK(body.bad());
            CHECK_FALSE(body.done());
            CHECK(body.take("more") == 0);
        }
        Body endless(chunked);
        CHECK(feed(endless, "5;" + std::string(2 * kMaxHead, 'x'), 1000) < kMaxHead + 10);
        CHECK(endless.bad());
    }
}
