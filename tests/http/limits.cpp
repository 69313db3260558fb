#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;

namespace {

std::string chunked(std::string const& body) {
    return "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\nTransfer-Encoding: "
           "chunked\r\n\r\n" +
           body;
}

}  // namespace

TEST_CASE("sizes") {
    Fixture f;

    SUBCASE("a body as large as the route allows passes, one byte more is 413 before it is sent") {
        CHECK(f.ask(post("/echo", std::string(1000, 'a'))).body.size() == 1000);
        auto const all = f.ask_all(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n"
            "Content-Length: 1001\r\n\r\n");
        CHECK(all.starts_with("HTTP/1.1 413 "));
        CHECK(all.find("Connection: close") != std::string::npos);
        CHECK(f.seen.requests == 1);
    }
    SUBCASE("the largest number and more do not wrap") {
        for (auto const* length :
             {"18446744073709551615", "18446744073709551616", "99999999999999999999999"}) {
            CAPTURE(length);
            auto const all = f.ask_all(std::string("POST /echo HTTP/1.1\r\nHost: localhost\r\n"
                                                   "Authorization: Bearer right\r\nContent-Length: ") +
                                       length + "\r\n\r\n");
            bool const refused = all.starts_with("HTTP/1.1 413 ") || all.starts_with("HTTP/1.1 400 ");
            CHECK(refused);
        }
    }
    SUBCASE("a refused Expect gets no 100") {
        auto const all = f.ask_all(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n"
            "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
        CHECK(all.starts_with("HTTP/1.1 413 "));
    }
    SUBCASE("chunks are added up") {
        std::string body;
        for (int i = 0; i < 10; ++i) body += "64\r\n" + std::string(100, 'b') + "\r\n";
        CHECK(f.ask(chunked(body + "0\r\n\r\n")).body.size() == 1000);
        auto const all = f.ask_all(chunked(body + "1\r\nb\r\n0\r\n\r\n"));
        CHECK(all.starts_with("HTTP/1.1 413 "));
    }
    SUBCASE("a chunk's head has an end") {
        auto const all = f.ask_all(chunked("1;" + std::string(300'000, 'x')));
        CHECK(all.starts_with("HTTP/1.1 400 "));
    }
    SUBCASE("a refusal survives a client that sends its body all the same") {
        auto const all = f.ask_all(post("/echo", std::string(500'000, 'a')));
        CHECK(all.starts_with("HTTP/1.1 413 "));
    }
    SUBCASE("a large head is 431, finished or not") {
        std::string const large =
            "GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + std::string(40'000, 'x');
        CHECK(f.ask_all(large).starts_with("HTTP/1.1 431 "));
        CHECK(f.ask_all(large + "\r\n\r\n").starts_with("HTTP/1.1 431 "));
        std::string const target = "GET /" + std::string(40'000, 'x');
        CHECK(f.ask_all(target).starts_with("HTTP/1.1 431 "));
    }
    SUBCASE("a head of very many fields is 431") {
        std::string many;
        for (int i = 0; i < 254; ++i) many += "A: b\r\n";
        CHECK(f.ask(get("/health", many)).status == 200);
        CHECK(f.ask_all(get("/health", many + "A: b\r\n")).starts_with("HTTP/1.1 431 "));
    }
    SUBCASE("a head just below the limit passes") {
        std::string const field = "X-A: " + std::string(30'000, 'x') + "\r\n";
        CHECK(f.ask(get("/health", field)).status == 200);
    }
}

// The limits are short here and only their effect is looked at, never how long it took.
TEST_CASE("times") {
    http::ServerOptions options;
    options.header_limit = base::milliseconds(400);
    options.body_limit = base::milliseconds(400);
    options.idle_limit = base::milliseconds(400);
    options.write_limit = base::milliseconds(400);
    Fixture f(options);

    SUBCASE("a connection that says nothing ends") { CHECK(f.ask_all("") == ""); }
    SUBCASE("a head that never ends ends") { CHECK(f.ask_all("GET /health HTTP/1.1\r\nHost: loc") == ""); }
    SUBCASE("a head that trickles ends") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send("GET /health HTTP/1.1\r\n");
            while (true) {
                co_await client.send("X: y\r\n");
                co_await base::sleep_for(base::milliseconds(10));
                if (x.server.connections() == 0) break;
            }
        }(f));
    }
    SUBCASE("a body that never comes ends") {
        auto const whole = post("/echo", "body");
        CHECK(f.ask_all(whole.substr(0, whole.size() - 1)) == "");
        CHECK(f.seen.requests == 0);
    }
    SUBCASE("an idle connection ends after its answer") {
        CHECK(f.ask_all(get("/health")).starts_with("HTTP/1.1 200 "));
    }
    SUBCASE("a client that does not read its answer is given up") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            client.socket().set_option(asio::socket_base::receive_buffer_size(4096));
            std::string many;
            for (int i = 0; i < 200; ++i) many += get("/stream?now");
            co_await client.send(many);
            co_await x.until_idle();
        }(f));
    }
    SUBCASE("a handler may take longer than all of them") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(get("/wait"));
            co_await x.until(x.seen.waiting);
            co_await base::sleep_for(base::milliseconds(1000));
            CHECK(!x.seen.cancelled);
            CHECK(x.server.connections() == 1);
        }(f));
    }
}

TEST_CASE("more connections than allowed wait for their turn") {
    http::ServerOptions options;
    options.max_connections = 2;
    Fixture f(options);
    f.io.run([](Fixture& x) -> Task<void> {
        Client first(x.io.context), second(x.io.context), third(x.io.context);
        co_await first.connect(x.port);
        co_await second.connect(x.port);
        auto answer = co_await first.ask(get("/health"));
        answer = co_await second.ask(get("/health"));
        CHECK(x.server.connections() == 2);
        co_await third.connect(x.port);
        co_await third.send(get("/health"));
        co_await base::sleep_for(base::milliseconds(50));
        CHECK(x.server.connections() == 2);
        CHECK(x.seen.requests == 2);
        first.close();
        answer = co_await third.answer();
        CHECK(answer.status == 200);
    }(f));
}

TEST_CASE("one peer cannot take all the room") {
    http::ServerOptions options;
    options.max_connections = 64;
    Fixture f(options);
    f.io.run([](Fixture& x) -> Task<void> {
        std::vector<std::unique_ptr<Client>> held;
        for (int i = 0; i < 16; ++i) {
            held.push_back(std::make_unique<Client>(x.io.context));
            co_await held.back()->connect(x.port);
            auto const answer = co_await held.back()->ask(get("/health"));
            CHECK(answer.status == 200);
        }
        Client more(x.io.context), other(x.io.context);
        co_await more.connect(x.port);
        co_await more.send(get("/health"));
        auto const nothing = co_await more.rest();
        CHECK(nothing.empty());
        other.socket().open(asio::ip::tcp::v4());
        asio::ip::tcp::endpoint const here(asio::ip::make_address("127.0.0.2"), 0);
        other.socket().bind(asio::generic::stream_protocol::endpoint(here));
        co_await other.connect(x.port);
        auto const answer = co_await other.ask(get("/health"));
        CHECK(answer.status == 200);
        CHECK(x.server.connections() == 17);
    }(f));
}

TEST_CASE("who reaches only the sites, or only TCP, locks nobody else out") {
    http::ServerOptions options;
    options.max_connections = 4;
    Fixture f(options);
    testing_support::TemporaryDirectory dir;
    auto const path = dir.path + "/s";
    REQUIRE(f.server.listen_unix(path, "").has_value());
    auto const sites = f.server.listen("127.0.0.1", 0, {}, http::Names::sites).value().port();
    f.io.run([](Fixture& x, std::uint16_t to, std::string at) -> Task<void> {
        std::vector<std::unique_ptr<Client>> held;
        for (int i = 0; i < 6; ++i) {
            held.push_back(std::make_unique<Client>(x.io.context));
            co_await held.back()->connect(to);
        }
        for (int i = 0; i < 2; ++i) {
            held.push_back(std::make_unique<Client>(x.io.context));
            co_await held.back()->connect(x.port);
            auto const answer = co_await held.back()->ask(get("/health"));
            CHECK(answer.status == 200);
        }
        while (x.server.connections() < 4) co_await base::sleep_for(base::milliseconds(5));
        Client local(x.io.context);
        co_await local.connect(at);
        auto const answer = co_await local.ask(get("/health"));
        CHECK(answer.status == 200);
        CHECK(x.server.connections() == 5);
    }(f, sites, path));
}
