#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;

namespace {

struct Case {
    std::string line;  ///< a whole field with its CRLF, or nothing
    int status;        ///< 0: lets pass
};

}  // namespace

TEST_CASE("Host x Origin x route") {
    Fixture f;
    std::vector<Case> const hosts{{"Host: localhost\r\n", 0},
                                  {"Host: LOCALHOST:7777\r\n", 0},
                                  {"Host: 127.0.0.1:1\r\n", 0},
                                  {"Host: [::1]:80\r\n", 0},
                                  {"Host: [::1]\r\n", 0},
                                  {"Host: berth.example\r\n", 0},
                                  {"", 400},
                                  {"Host: localhost\r\nHost: localhost\r\n", 400},
                                  {"Host: localhost\r\nhost: evil.example\r\n", 400},
                                  {"Host:\r\n", 403},
                                  {"Host: evil.example\r\n", 403},
                                  {"Host: localhost.evil.example\r\n", 403},
                                  {"Host: localhost.\r\n", 403},
                                  {"Host: localhost:\r\n", 403},
                                  {"Host: localhost:80x\r\n", 403},
                                  {"Host: localhost:80:80\r\n", 403},
                                  {"Host: user@localhost\r\n", 403},
                                  {"Host: [::1\r\n", 403},
                                  {"Host: [::1]x\r\n", 403},
                                  {"Host: ::1\r\n", 403},
                                  {"Host: 127.0.0.2\r\n", 403}};
    std::vector<Case> const origins{{"", 0},
                                    {"Origin: http://localhost:5173\r\n", 0},
                                    {"Origin: https://localhost\r\n", 0},
                                    {"Origin: http://127.0.0.1:3000\r\n", 0},
                                    {"Origin: http://[::1]:3000\r\n", 0},
                                    {"Origin: https://app.example\r\n", 0},
                                    {"Origin: http://app.example\r\n", 403},
                                    {"Origin: https://app.example:8443\r\n", 403},
                                    {"Origin: https://app.example.evil.example\r\n", 403},
                                    {"Origin: http://localhost.evil.example\r\n", 403},
                                    {"Origin: http://localhost:80/\r\n", 403},
                                    {"Origin: http://localhost@evil.example\r\n", 403},
                                    {"Origin: ftp://localhost\r\n", 403},
                                    {"Origin: localhost\r\n", 403},
                                    {"Origin: null\r\n", 403},
                                    {"Origin:\r\n", 403},
                                    {"Origin: https://app.example\r\nOrigin: https://app.example\r\n", 400}};
    std::vector<std::pair<std::string, int>> const targets{{"GET /health", 200}, {"POST /echo", 200},
                                                           {"GET /tree/x", 200}, {"GET /none", 404},
                                                           {"PUT /echo", 405},   {"OPTIONS /health", 405}};
    for (auto const& [target, passed] : targets)
        for (auto const& host : hosts)
            for (auto const& origin : origins) {
                CAPTURE(target);
                CAPTURE(host.line);
                CAPTURE(origin.line);
                int expected = passed;
                if (origin.status) expected = origin.status;
                if (host.status == 403 && expected != 400) expected = 403;
                if (host.status == 400) expected = 400;
                f.seen.requests = 0;
                auto const answer =
                    f.ask(target + " HTTP/1.1\r\n" + host.line + origin.line +
                          "Authorization: Bearer right\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n");
                CHECK(answer.status == expected);
                CHECK(f.seen.requests == (expected == 200 ? 1 : 0));
            }
}

TEST_CASE("loopback origins need a loopback host") {
    testing_support::Io io;
    Seen seen;
    auto options = gate();
    options.hosts = {"berth.example"};
    http::Server server(io.context, options, {}, routes(seen));
    auto const port = server.listen("127.0.0.1", 0).value().port();
    auto const answer = io.run([](testing_support::Io& x, std::uint16_t to) -> Task<Answer> {
        Client client(x.context);
        co_await client.connect(to);
        co_return co_await client.ask(
            "GET /health HTTP/1.1\r\nHost: berth.example\r\nOrigin: http://localhost:1\r\n\r\n");
    }(io, port));
    CHECK(answer.status == 403);
}

TEST_CASE("credentials") {
    Fixture f;
    std::vector<Case> const credentials{
        {"Authorization: Bearer right\r\n", 0},
        {"authorization: bearer right\r\n", 0},
        {"", 401},
        {"Authorization: Bearer wrong\r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: right\r\n", 401},
        {"Authorization: Basic right\r\n", 401},
        {"Authorization: Bearer right right\r\n", 401},
        {"Authorization: Bearer right\r\nAuthorization: Bearer right\r\n", 401}};
    std::vector<std::pair<std::string, int>> const targets{
        {"POST /echo", 200}, {"DELETE /echo", 200}, {"GET /tree/a", 200}, {"PUT /echo", 405}};
    for (auto const& [target, passed] : targets)
        for (auto const& credential : credentials) {
            CAPTURE(target);
            CAPTURE(credential.line);
            auto const answer = f.ask(target + " HTTP/1.1\r\nHost: localhost\r\n" + credential.line + "\r\n");
            CHECK(answer.status == (credential.status ? credential.status : passed));
            CHECK(answer.has("WWW-Authenticate: Bearer\r\n") == (answer.status == 401));
        }
    SUBCASE("a token in the query is none") {
        CHECK(f.ask("POST /echo?access_token=right HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 401);
    }
    SUBCASE("an open route neither needs nor looks at one") {
        CHECK(
            f.ask("GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n").status ==
            200);
        CHECK(f.seen.last.principal.name == "");
    }
    SUBCASE("none opens what only a private socket has, nor tells that it is there") {
        f.seen.requests = 0;
        for (std::string const path : {"/private", "/no-such-path"})
            for (std::string const verb : {"POST ", "GET "}) {
                auto const answer = f.ask(verb + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n");
                CHECK(answer.status == 404);
                CHECK_FALSE(answer.has("Allow:"));
                CHECK(answer.body.find("no such path") != std::string::npos);
            }
        CHECK(f.seen.requests == 0);
    }
    SUBCASE("a wrong one is refused before its body is read") {
        auto const all = f.ask_all("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n");
        CHECK(all.starts_with("HTTP/1.1 401 "));
    }
}
