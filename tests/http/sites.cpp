#include "client.hpp"
#include <http/site.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <doctest/doctest.h>

using namespace http_test;

namespace {

/// Takes every name below ".site.test". /echo gives the body back as it comes, /early answers before the body, /ws
/// upgrades and gives bytes back, /wait never answers.
struct SiteFixture : Fixture {
    explicit SiteFixture(http::ServerOptions options = {}) : Fixture(options) {
        http::Site site;
        site.serves = [](std::string_view host) { return host.ends_with(".site.test") || host.ends_with(".SITE.test"); };
        site.handler = [this](http::Exchange& x) { return handle(x); };
        server.add_site(std::move(site));
        sites_port = server.listen("127.0.0.1", 0, {}, http::Names::sites).value().port();
    }
    Task<void> handle(http::Exchange& x) {
        ++requests;
        last = x.request();
        live = &x;
        http::Fields fields;
        if (last.target == "/ws") {
            fields.set("Upgrade", "websocket");
            auto stream = co_await x.upgrade(std::move(fields));
            if (!stream) {
                (void)co_await x.send(http::Status::bad_request, {}, "no");
                co_return;
            }
            for (;;) {
                char bytes[1024];
                auto const n = co_await (*stream)->read_some(asio::buffer(bytes));
                if (!n || *n == 0) break;
                (void)co_await (*stream)->write(asio::buffer(bytes, *n));
            }
            tunnel_ended = true;
            co_return;
        }
        if (last.target == "/wait") {
            struct Ended {
                bool& flag;
                ~Ended() { flag = true; }
            } const ended{wait_ended};
            co_await base::sleep_for(base::milliseconds(100'000));
            co_return;
        }
        if (last.target == "/early") {
            (void)co_await x.send(http::Status::payload_too_large, std::move(fields), "no more");
            co_return;
        }
        auto begun = co_await x.begin(http::Status::ok, std::move(fields), last.length);
        while (begun) {
            auto piece = co_await x.receive();
            if (!piece || piece->empty()) break;
            begun = co_await x.write(std::move(*piece));
        }
        if (begun) (void)co_await x.finish();
    }
    std::string ask_site(std::string request, std::uint16_t at = 0) {
        return io.run([](SiteFixture& f, std::string text, std::uint16_t to) -> Task<std::string> {
            Client client(f.io.context);
            co_await client.connect(to ? to : f.port);
            co_await client.send(std::move(text));
            co_return co_await client.rest();
        }(*this, std::move(request), at));
    }

    int requests = 0;
    bool tunnel_ended = false, wait_ended = false;
    http::RequestHead last;
    http::Exchange* live = nullptr;
    std::uint16_t sites_port = 0;
};

std::string ask_for(std::string target, std::string more = {}, std::string method = "GET", std::string host = "a.site.test") {
    return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n";
}

}  // namespace

TEST_CASE("a site has its names to itself") {
    SiteFixture f;
    std::string const closing = "Connection: close\r\n";

    SUBCASE("every method and path below them goes to it, without the gate's Origin or token") {
        for (auto const* method : {"GET", "POST", "DELETE", "PROPFIND", "BREW"}) {
            auto const all = f.ask_site(ask_for("/health?x=1", closing + "Origin: https://evil.example\r\n", method));
            CHECK(all.starts_with("HTTP/1.1 200 "));
            CHECK(f.last.method == method);
            CHECK(f.last.target == "/health?x=1");
        }
        CHECK(f.seen.requests == 0);
        CHECK(f.last.peer == "127.0.0.1");
        CHECK(f.last.host == "a.site.test");
    }
    SUBCASE("in any spelling, which the site is told") {
        f.ask_site(ask_for("/", closing, "GET", "A.SITE.test:81"));
        CHECK(f.last.host == "A.SITE.test");
    }
    SUBCASE("other names never reach it, with or without a second Host") {
        for (std::string const host : {"localhost", "site.test", "a.site.test.", "a.site.test:x", "a.site.test@localhost",
                                       "[a.site.test]", "", "evil.example", "a.site.test, localhost"}) {
            CAPTURE(host);
            auto const all = f.ask_site(ask_for("/", closing, "GET", host));
            CHECK(f.requests == 0);
        }
        auto const twice = f.ask_site("GET / HTTP/1.1\r\nHost: a.site.test\r\nHost: a.site.test\r\n" + closing + "\r\n");
        CHECK(twice.starts_with("HTTP/1.1 400 "));
        auto const none = f.ask_site("GET / HTTP/1.1\r\n" + closing + "\r\n");
        CHECK(none.starts_with("HTTP/1.1 400 "));
        auto const absolute = f.ask_site("GET http://a.site.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(absolute.starts_with("HTTP/1.1 400 "));
        CHECK(f.requests == 0);
    }
    SUBCASE("the server's own token does not reach it, another does, two are refused") {
        f.ask_site(ask_for("/", closing + "Authorization: Bearer right\r\n"));
        CHECK(f.last.fields.count("Authorization") == 0);
        f.ask_site(ask_for("/", closing + "Authorization: Bearer theirs\r\n"));
        CHECK(f.last.fields["Authorization"] == "Bearer theirs");
        auto const two = closing + "Authorization: Bearer theirs\r\nAuthorization: Bearer right\r\n";
        CHECK(f.ask_site(ask_for("/", two)).starts_with("HTTP/1.1 400 "));
        CHECK(f.requests == 2);
    }
    SUBCASE("a listener for sites has no route, whatever Host says") {
        auto const all = f.ask_site(get("/health"), f.sites_port);
        CHECK(all.starts_with("HTTP/1.1 404 "));
        CHECK(f.ask_site(ask_for("/", closing), f.sites_port).starts_with("HTTP/1.1 200 "));
    }
}

TEST_CASE("a site's request and answer flow at the same time") {
    SiteFixture f;
    f.io.run([](SiteFixture& x) -> Task<void> {
        Client client(x.io.context);
        co_await client.connect(x.port);
        co_await client.send(ask_for("/echo", "Transfer-Encoding: chunked\r\n", "POST"));
        co_await client.send("3\r\none\r\n");
        (void)co_await client.until("3\r\none\r\n");  // before the body has ended
        co_await client.send("5;x=y\r\n two!\r\n0\r\nX-Trailer: 1\r\n\r\n");
        auto const rest = co_await client.until("0\r\n\r\n");
        CHECK(rest == "5\r\n two!\r\n0\r\n\r\n");
    }(f));
}

TEST_CASE("100 Continue is said when the site asks for the body, not before") {
    SiteFixture f;
    auto const refused = f.ask_site(ask_for("/early", "Content-Length: 5\r\nExpect: 100-continue\r\n", "POST"));
    CHECK(refused.starts_with("HTTP/1.1 413 "));
    CHECK(refused.find("Connection: close") != std::string::npos);
    auto const odd = f.ask_site(ask_for("/echo", "Content-Length: 5\r\nExpect: 200-ok\r\n", "POST"));
    CHECK(odd.starts_with("HTTP/1.1 417 "));
    CHECK(f.requests == 1);
}

TEST_CASE("an answer that comes before its request's body ends the connection") {
    SiteFixture f;
    auto const rider = ask_for("/health", "Connection: close\r\n");
    auto const all = f.ask_site(ask_for("/early", "Content-Length: " + std::to_string(rider.size()) + "\r\n", "POST") + rider);
    CHECK(all.starts_with("HTTP/1.1 413 "));
    CHECK(f.requests == 1);
}

TEST_CASE("an upgraded connection") {
    SiteFixture f;

    SUBCASE("carries bytes both ways, those sent ahead first, until the client ends it") {
        f.io.run([](SiteFixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(ask_for("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n") + "early");
            auto const head = co_await client.until("\r\n\r\n");
            CHECK(head.starts_with("HTTP/1.1 101 "));
            CHECK(head.find("Connection: Upgrade\r\n") != head.npos);
            (void)co_await client.until("early");
            co_await client.send("GET / HTTP/1.1\r\n\r\n");
            (void)co_await client.until("GET / HTTP/1.1\r\n\r\n");
            client.close();
            co_await x.until(x.tunnel_ended);
            co_await x.until_idle();
            CHECK(x.requests == 1);
        }(f));
    }
    SUBCASE("can be ended from outside") {
        f.io.run([](SiteFixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(ask_for("/ws", "Upgrade: websocket\r\n"));
            (void)co_await client.until("\r\n\r\n");
            x.live->close();
            auto const rest = co_await client.rest();
            CHECK(rest.empty());
            co_await x.until_idle();
        }(f));
    }
    SUBCASE("is refused to a request with a body and to HTTP/1.0") {
        CHECK(f.ask_site(ask_for("/ws", "Content-Length: 1\r\n", "POST") + "x").starts_with("HTTP/1.1 400 "));
        CHECK(f.ask_site("GET /ws HTTP/1.0\r\nHost: a.site.test\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }
}

TEST_CASE("closing an exchange from outside cancels its handler") {
    SiteFixture f;
    f.io.run([](SiteFixture& x) -> Task<void> {
        Client client(x.io.context);
        co_await client.connect(x.port);
        co_await client.send(ask_for("/wait"));
        while (!x.live) co_await base::sleep_for(base::milliseconds(5));
        x.live->close();
        (void)co_await client.rest();
        co_await x.until(x.wait_ended);
        co_await x.until_idle();
    }(f));
}

TEST_CASE("behind a trusted proxy a visitor is whom it names last") {
    http::ServerOptions options;
    options.max_connections = 64;
    options.trusted_proxies = http::Networks::parse({"127.0.0.1/32", "10.0.0.0/8", "fd00::/16"}).value();
    SiteFixture f(options);
    auto const peer = [&](std::string fields) {
        f.ask_site(ask_for("/", "Connection: close\r\n" + fields));
        return f.last.peer;
    };
    std::string const field = "X-Forwarded-For: ";

    SUBCASE("and not what stands before that, which the visitor wrote") {
        CHECK(peer("") == "127.0.0.1");
        CHECK(peer(field + "192.0.2.7\r\n") == "192.0.2.7");
        CHECK(peer(field + "6.6.6.6, 192.0.2.7\r\n") == "192.0.2.7");
        CHECK(peer(field + "6.6.6.6\r\n" + field + "192.0.2.7\r\n") == "192.0.2.7");
        CHECK(peer(field + "6.6.6.6,192.0.2.7:5123 , 10.1.2.3,::ffff:10.1.1.1\r\n") == "192.0.2.7");
        CHECK(peer(field + "2001:db8::1\r\n") == "[2001:db8::1]");
        CHECK(peer(field + "[2001:db8::1]:80, fd00::5\r\n") == "[2001:db8::1]");
        CHECK(peer(field + "10.1.2.3, 10.4.5.6\r\n") == "10.1.2.3");
        CHECK(peer(field + "192.0.2.7, unknown\r\n") == "127.0.0.1");
        CHECK(peer(field + ",\r\n") == "127.0.0.1");
        CHECK(peer("Forwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n") == "127.0.0.1");
    }
    SUBCASE("and the proxy may have more connections than a peer") {
        f.io.run([](SiteFixture& x) -> Task<void> {
            std::vector<std::unique_ptr<Client>> held;
            for (int i = 0; i < 20; ++i) {
                held.push_back(std::make_unique<Client>(x.io.context));
                co_await held.back()->connect(x.port);
                auto const answer = co_await held.back()->ask(get("/health"));
                CHECK(answer.status == 200);
            }
        }(f));
    }
    CHECK_FALSE(http::Networks::parse({"10.0.0.1"}).has_value());
    CHECK_FALSE(http::Networks::parse({"::1/129"}).has_value());
}

TEST_CASE("whoever is no trusted proxy is taken for what its connection says") {
    SiteFixture f;
    f.ask_site(ask_for("/", "Connection: close\r\nX-Forwarded-For: 192.0.2.7\r\n"));
    CHECK(f.last.peer == "127.0.0.1");
}
