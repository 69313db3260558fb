#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;

TEST_CASE("a streamed answer") {
    Fixture f;

    SUBCASE("arrives part by part, and the connection stays") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context), other(x.io.context);
            co_await client.connect(x.port);
            co_await other.connect(x.port);
            co_await client.send(get("/stream"));
            auto part = co_await client.until("4\r\none \r\n");  // the handler has not ended
            CHECK(part.find("Transfer-Encoding: chunked\r\n") != part.npos);
            CHECK(x.seen.requests == 1);
            auto answer = co_await other.ask(get("/health"));
            part = co_await client.until("\r\n0\r\n\r\n");
            CHECK(part.size() == std::string("186a0\r\n").size() + 100'000 + 7);
            answer = co_await client.ask(get("/health"));
            CHECK(answer.status == 200);
        }(f));
    }
    SUBCASE("to HTTP/1.0 ends with the connection") {
        auto const all = f.ask_all(
            "GET /stream?now HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer right\r\n"
            "Connection: keep-alive\r\n\r\n");
        CHECK(all.find("chunked") == std::string::npos);
        CHECK(all.find("Connection: close\r\n") != std::string::npos);
        CHECK(all.find("\r\n\r\none xxx") != std::string::npos);
        CHECK(all.ends_with("xxx"));
    }
}

TEST_CASE("a client that goes away") {
    Fixture f;

    SUBCASE("cancels its handler, whose writes then fail") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(get("/wait"));
            co_await x.until(x.seen.waiting);
            client.close();
            co_await x.until_idle();
        }(f));
        CHECK(f.seen.cancelled);
        CHECK(f.seen.write_failure.has_error());
    }
    SUBCASE("does so behind bytes that it sent ahead") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            std::string const two = get("/wait") + get("/health");
            co_await client.send(two);
            co_await x.until(x.seen.waiting);
            co_await base::sleep_for(base::milliseconds(300));
            CHECK(!x.seen.cancelled);  // a next request is no departure
            client.close();
            co_await x.until_idle();
        }(f));
        CHECK(f.seen.cancelled);
        CHECK(f.seen.requests == 0);
    }
    SUBCASE("in the middle of a head or a body leaves nothing behind") {
        f.io.run([](Fixture& x) -> Task<void> {
            auto const whole = post("/echo", "body");
            for (std::size_t size = 0; size < whole.size(); size += 7) {
                Client client(x.io.context);
                co_await client.connect(x.port);
                co_await client.send(whole.substr(0, size));
            }
            co_await base::sleep_for(base::milliseconds(20));
            co_await x.until_idle();
        }(f));
        CHECK(f.seen.requests == 0);
    }
}

TEST_CASE("stop") {
    Fixture f;

    SUBCASE("cancels a handler that outlasts the grace, and its client hears of it") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context), idle(x.io.context);
            co_await client.connect(x.port);
            co_await idle.connect(x.port);
            co_await client.send(get("/wait"));
            co_await x.until(x.seen.waiting);
            co_await x.server.stop(base::milliseconds(50));
            CHECK(x.seen.cancelled);
            CHECK(x.server.connections() == 0);
            auto const answer = co_await client.answer();
            CHECK(answer.body == "late");
            auto const rest = co_await idle.rest();
            CHECK(rest == "");
        }(f));
    }
    SUBCASE("lets a request in flight end") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(get("/stream"));
            auto part = co_await client.until("one ");
            auto const release = [](Fixture& y) -> Task<void> {
                co_await base::sleep_for(base::milliseconds(20));
                y.seen.requests = 2;
            };
            auto reader = [](Client& c, bool& whole) -> Task<void> {
                auto const rest = co_await c.rest();
                whole = rest.ends_with("0\r\n\r\n");
            };
            bool whole = false;
            auto release_task = release(x);
            auto read_task = reader(client, whole);
            asio::co_spawn(x.io.context, std::move(release_task), asio::detached);
            asio::co_spawn(x.io.context, std::move(read_task), asio::detached);
            co_await x.server.stop(base::milliseconds(30'000));
            co_await x.until(whole);
            CHECK(x.server.connections() == 0);
        }(f));
    }
    SUBCASE("frees the address at once") {
        f.io.run([](Fixture& x) -> Task<void> {
            co_await x.server.stop(base::milliseconds(10));
            Client client(x.io.context);
            bool refused = false;
            try {
                co_await client.connect(x.port);
            } catch (boost::system::system_error const&) {
                refused = true;
            }
            CHECK(refused);
        }(f));
    }
}

TEST_CASE("a server that is destroyed in the middle of a request cancels it") {
    testing_support::Io io;
    Seen seen;
    auto server = std::make_unique<http::Server>(io.context, gate(), http::ServerOptions(), routes(seen));
    auto const port = server->listen("127.0.0.1", 0).value().port();
    io.run([](testing_support::Io& x, std::unique_ptr<http::Server>& victim, Seen& s,
              std::uint16_t to) -> Task<void> {
        Client client(x.context);
        co_await client.connect(to);
        co_await client.send(get("/wait"));
        while (!s.waiting) co_await base::sleep_for(base::milliseconds(5));
        victim.reset();
        auto const rest = co_await client.rest();
        CHECK(rest == "");
        while (!s.cancelled) co_await base::sleep_for(base::milliseconds(5));
    }(io, server, seen, port));
}
