#include "client.hpp"

#include <doctest/doctest.h>

using namespace http_test;
using http::Access;
using http::Reply;
using http::Request;
using http::Verb;

namespace http_test {
namespace {

Task<void> echo(Seen& seen, Request request, Reply& reply) {
    ++seen.requests;
    http::Fields fields;
    fields.set("Content-Type", "text/plain");
    fields.set("Content-Length", "7");  // not the handler's to say
    std::string body = request.body;
    seen.last = std::move(request);
    co_await reply.send(http::Status::ok, std::move(fields), std::move(body));
}

Task<void> wait(Seen& seen, Request, Reply& reply) {
    seen.waiting = true;
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::hours(1));
    auto [ec] = co_await timer.async_wait(base::as_tuple);
    seen.cancelled = ec == asio::error::operation_aborted;
    co_await asio::this_coro::reset_cancellation_state();
    seen.write_failure = co_await reply.send(http::Status::ok, http::Fields(), std::string("late"));
}

Task<void> stream(Seen& seen, Request request, Reply& reply) {
    ++seen.requests;
    http::Fields fields;
    fields.set("Content-Type", "text/event-stream");
    (co_await reply.begin(http::Status::ok, std::move(fields))).value();
    (co_await reply.write("one ")).value();
    // The second part is not sent before the client has the first, which it shows by a second request
    // elsewhere.
    while (seen.requests < 2 && request.query != "now") co_await base::sleep_for(base::milliseconds(5));
    (co_await reply.write("")).value();
    (co_await reply.write(std::string(100'000, 'x'))).value();
    (co_await reply.finish()).value();
}

Task<void> cut(Seen&, Request, Reply& reply) {
    (co_await reply.begin(http::Status::ok, http::Fields())).value();
    (co_await reply.write("part")).value();
    throw std::runtime_error("secret detail");
}

Task<void> fail(Seen&, Request, Reply&) {
    co_await base::sleep_for(base::milliseconds(1));
    throw std::runtime_error("secret detail");
}

Task<void> silent(Seen&, Request, Reply&) { co_return; }

Task<void> inject(Seen& seen, Request, Reply& reply) {
    http::Fields fields;
    fields.set("X-A", "b\r\nX-C: d");
    seen.write_failure = co_await reply.send(http::Status::ok, std::move(fields), std::string());
}

using Function = Task<void> (*)(Seen&, Request, Reply&);

http::Route route(Seen& seen, std::string path, Verb verb, Function function, Access access = Access::token) {
    http::Route result;
    result.path = std::move(path);
    result.verbs = {verb};
    result.access = access;
    result.max_body = 1000;
    result.handler = [&seen, function](Request request, Reply& reply) {
        return function(seen, std::move(request), reply);
    };
    return result;
}

}  // namespace

std::vector<http::Route> routes(Seen& seen) {
    std::vector<http::Route> all{route(seen, "/health", Verb::get, echo, Access::open),
                                 route(seen, "/echo", Verb::post, echo),
                                 route(seen, "/echo", Verb::delete_, echo),
                                 route(seen, "/tree/*", Verb::get, echo),
                                 route(seen, "/tree/deep/*", Verb::post, echo),
                                 route(seen, "/wait", Verb::get, wait),
                                 route(seen, "/throw", Verb::get, fail),
                                 route(seen, "/cut", Verb::get, cut),
                                 route(seen, "/silent", Verb::get, silent),
                                 route(seen, "/inject", Verb::get, inject),
                                 route(seen, "/stream", Verb::get, stream),
                                 route(seen, "/head", Verb::head, echo),
                                 route(seen, "/private", Verb::post, echo, Access::local)};
    return all;
}

}  // namespace http_test

TEST_CASE("a request reaches its handler and is answered") {
    Fixture f;

    SUBCASE("with its path, query, fields, body and principal") {
        auto const answer = f.ask(post("/echo?a=b%20c", "hello", "X-Field: v\r\n"));
        CHECK(answer.status == 200);
        CHECK(answer.body == "hello");
        CHECK(answer.has("Content-Length: 5\r\n"));
        CHECK(!answer.has("Content-Length: 7"));
        CHECK(f.seen.last.path == "/echo");
        CHECK(f.seen.last.query == "a=b%20c");
        CHECK(f.seen.last.field("x-field") == "v");
        CHECK(f.seen.last.field("x-none") == "");
        CHECK(f.seen.last.principal.name == "operator");
        CHECK(f.seen.last.peer.starts_with("127.0.0.1:"));
    }
    SUBCASE("twice on one connection, and pipelined") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            auto answer = co_await client.ask(post("/echo", "first"));
            CHECK(answer.body == "first");
            CHECK(answer.has("Connection: keep-alive"));
            std::string const two = post("/echo", "second") + post("/echo", "third");
            answer = co_await client.ask(two);
            CHECK(answer.body == "second");
            answer = co_await client.answer();
            CHECK(answer.body == "third");
            CHECK(x.server.connections() == 1);
        }(f));
        CHECK(f.seen.requests == 3);
    }
    SUBCASE("and the connection ends when the client asks for it or speaks HTTP/1.0") {
        CHECK(f.ask_all(post("/echo", "bye", "Connection: close\r\n")).ends_with("bye"));
        CHECK(f.ask_all("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").find("Connection: close") !=
              std::string::npos);
    }
    SUBCASE("with a chunked body, whose trailers add nothing to the fields") {
        std::string const head =
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n"
            "Transfer-Encoding: chunked\r\n\r\n";
        auto const answer = f.ask(head + "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Late: 1\r\n\r\n");
        CHECK(answer.body == "abcde");
        CHECK(f.seen.last.field("X-Late") == "");
        CHECK(answer.has("keep-alive"));
    }
    SUBCASE("after 100 Continue when it asks for that") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            auto const whole = post("/echo", "body", "Expect: 100-continue\r\n");
            auto answer = co_await client.ask(whole.substr(0, whole.size() - 4));
            CHECK(answer.status == 100);
            answer = co_await client.ask("body");
            CHECK(answer.status == 200);
            CHECK(answer.body == "body");
        }(f));
    }
    SUBCASE("in small pieces") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            for (char const c : post("/echo", "slow")) {
                std::string const piece(1, c);
                co_await client.send(piece);
            }
            auto const answer = co_await client.answer();
            CHECK(answer.body == "slow");
        }(f));
    }
    SUBCASE("without a body to HEAD") {
        f.io.run([](Fixture& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            std::string const head =
                "HEAD /head HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n";
            co_await client.send(head + head);
            auto answer = co_await client.answer(false);
            CHECK(answer.status == 200);
            answer = co_await client.answer(false);
            CHECK(answer.status == 200);
        }(f));
    }
}

TEST_CASE("the route table") {
    Fixture f;

    SUBCASE("an unknown path is 404") {
        for (auto const* path : {"/", "/echo/", "/echo/x", "/ECHO", "/tree", "/tre/x", "/%65cho", "//echo"}) {
            CAPTURE(path);
            auto const answer = f.ask(get(path));
            CHECK(answer.status == 404);
            CHECK(answer.body == R"({"error":"no such path"})");
        }
    }
    SUBCASE("another verb is 405 and names those that work") {
        auto const answer = f.ask(get("/echo"));
        CHECK(answer.status == 405);
        CHECK(answer.has("Allow: POST, DELETE\r\n"));
    }
    SUBCASE("a verb that nobody knows is 405 as well") {
        CHECK(f.ask("BREW /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n").status ==
              405);
    }
    SUBCASE("a prefix takes what is below it, the longest one first") {
        CHECK(f.ask(get("/tree/")).status == 200);
        CHECK(f.ask(get("/tree/a/b?c")).status == 200);
        CHECK(f.seen.last.path == "/tree/a/b");
        CHECK(f.ask(get("/tree/deep/x")).status == 405);
    }
}

TEST_CASE("a handler that fails") {
    Fixture f;

    SUBCASE("by an exception is a 500 without detail, and ends only its connection") {
        auto const all = f.ask_all(get("/throw"));
        CHECK(all.starts_with("HTTP/1.1 500 "));
        CHECK(all.ends_with(R"({"error":"internal error"})"));
        CHECK(all.find("secret") == std::string::npos);
        CHECK(f.ask(get("/health")).status == 200);
    }
    SUBCASE("by not answering is a 500") { CHECK(f.ask(get("/silent")).status == 500); }
    SUBCASE("by an answer that breaks out of its field is a 500") {
        auto const answer = f.ask(get("/inject"));
        CHECK(answer.status == 500);
        CHECK(!answer.has("X-C"));
        CHECK(f.seen.write_failure.has_error());
    }
    SUBCASE("inside a stream ends the connection without the last chunk") {
        auto const all = f.ask_all(get("/cut"));
        CHECK(all.ends_with("4\r\npart\r\n"));
    }
}
