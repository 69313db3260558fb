#include "../http/client.hpp"

#include <doctest/doctest.h>

#include <headers.hpp>
#include <preview/previews.hpp>
#include <testing/io.hpp>
#include <testing/socket_stream.hpp>

using base::Task;
using http_test::Client;
using preview::Access;

namespace {

std::string const kWorkspace = "ws-abcdefghijklmnopqrstuvwxyz";

/// Workspaces that are processes of this test: each port is one of loopback, or nothing.
struct FakeBackend final : preview::Backend {
    struct Up final : preview::Awake {
        explicit Up(FakeBackend& f) : fake(f) { ++fake.leases; }
        ~Up() override { --fake.leases; }
        bool restarted() const override { return fake.restarted; }
        std::uint64_t generation() const override { return fake.generation; }
        Task<base::Result<std::unique_ptr<http::ByteStream>>> connect(int port) override {
            ++fake.connects;
            auto const at = fake.ports.find(port);
            if (at == fake.ports.end()) co_return base::error(base::errc::unavailable, "connection refused");
            co_return co_await testing_support::SocketStream::connect(at->second);
        }
        Task<base::Result<std::vector<preview::Listener>>> listeners() override {
            std::vector<preview::Listener> out;
            for (auto const& [port, to] : fake.ports) out.push_back({port, "127.0.0.1", "node"});
            co_return out;
        }
        Task<std::optional<preview::Crash>> last_crash() override {
            preview::Crash crash;
            crash.command = "npm start";
            crash.reason = "exit code 1";
            crash.output = "the last words";
            co_return crash;
        }
        Task<bool> starting() override { co_return fake.starting; }
        FakeBackend& fake;
    };
    State state(std::string const& owner, std::string const& id) const override {
        if (owner != "me" || id != kWorkspace || deleted) return State::unknown;
        return asleep ? State::asleep : State::awake;
    }
    std::optional<std::string> id_of(std::string const& owner, std::string const& id) const override {
        if (owner != "me" || deleted || (id != kWorkspace && id != "named")) return std::nullopt;
        return kWorkspace;
    }
    Task<base::Result<std::unique_ptr<preview::Awake>>> awake(std::string owner, std::string id) override {
        if (state(owner, id) == State::unknown) co_return base::error(base::errc::not_found, "gone");
        if (asleep) {
            ++wakes;
            while (hold) co_await base::sleep_for(base::milliseconds(5));
            if (throws) throw std::bad_alloc();
            if (!wake_fails.empty()) co_return base::error(base::errc::unavailable, wake_fails);
            asleep = false;
        }
        std::unique_ptr<preview::Awake> up = std::make_unique<Up>(*this);
        co_return up;
    }
    std::map<int, std::uint16_t> ports;
    int leases = 0, connects = 0, wakes = 0;
    std::uint64_t generation = 1;
    bool asleep = false, hold = false, deleted = false, restarted = false, starting = false;
    bool throws = false;
    std::string wake_fails;
};

/// The program inside: says what it saw, echoes, streams, upgrades.
struct App {
    explicit App(asio::io_context& context) : io(context) { start(); }
    /// Ends its connections, if it runs, and takes a port.
    void start() {
        server = std::make_unique<http::Server>(io, http::GateOptions{}, http::ServerOptions{},
                                                std::vector<http::Route>{});
        http::Site site;
        site.serves = [](std::string_view) { return true; };
        site.handler = [this](http::Exchange& x) { return handle(x); };
        server->add_site(std::move(site));
        port = server->listen("127.0.0.1", 0).value().port();
    }
    Task<void> handle(http::Exchange& x) {
        ++requests;
        last = x.request();
        auto const& target = last.target;
        http::Fields fields;
        fields.set("X-App", "yes");
        if (target == "/ws") {
            fields.set("Upgrade", "websocket");
            fields.set("Sec-WebSocket-Accept",
                       wrong_accept ? "x" : preview::websocket_accept(last.fields["Sec-WebSocket-Key"]));
            auto stream = co_await x.upgrade(std::move(fields));
            if (!stream) co_return;
            ++sockets;
            for (;;) {
                char bytes[1024];
                auto const n = co_await (*stream)->read_some(asio::buffer(bytes));
                if (!n || *n == 0) break;
                (void)co_await (*stream)->write(asio::buffer(bytes, *n));
            }
            --sockets;
            co_return;
        }
        if (target == "/never") {
            co_await base::sleep_for(base::milliseconds(100'000));
            co_return;
        }
        if (target == "/endless") {
            (void)co_await x.begin(http::Status::ok, std::move(fields), {});
            base::Status ok;
            while (ok) {
                ok = co_await x.write("data: tick\n\n");
                co_await base::sleep_for(base::milliseconds(10));
            }
            co_return;
        }
        if (target == "/early") {
            (void)co_await x.send(http::Status::payload_too_large, std::move(fields), "no more");
            co_return;
        }
        if (target == "/dense-cookie") {
            std::string dense = "a=1";
            for (int i = 0; i < 31'000; ++i) dense += ";b";
            fields.set("Set-Cookie", dense);
            (void)co_await x.send(http::Status::ok, std::move(fields), "set");
            co_return;
        }
        if (target == "/cut") {
            (void)co_await x.begin(http::Status::ok, std::move(fields), 200'000);
            (void)co_await x.write("only this");
            co_return;
        }
        std::string body;
        for (;;) {
            auto piece = co_await x.receive();
            if (!piece || piece->empty()) break;
            body += *piece;
        }
        last_body = body;
        (void)co_await x.send(http::Status::ok, std::move(fields), last.method + " " + target + " " + body);
    }
    asio::io_context& io;
    std::unique_ptr<http::Server> server;
    std::uint16_t port = 0;
    int requests = 0, sockets = 0;
    bool wrong_accept = false;
    http::RequestHead last;
    std::string last_body;
};

struct World {
    explicit World(preview::Options options = {})
        : registry(registry::Registry::open(io.context, dir.path).value()) {
        registry::WorkspaceRecord w;
        w.id = kWorkspace;
        w.owner = "me";
        w.template_name = "base";
        w.state = "running";
        w.volume = "v";
        REQUIRE(io.run(registry->insert_workspace(w)).has_value());
        backend.ports[5173] = app.port;
        backend.ports[8000] = other.port;
        open(options);
    }
    ~World() {
        close();
        if (previews) previews->stop();
        io.run(registry->close());
    }
    void close() {
        if (server) io.run(server->stop(base::milliseconds(0)));
        server.reset();
    }
    void open(preview::Options options) {
        close();
        previews = std::make_unique<preview::Previews>(io.context, *registry, backend, options);
        REQUIRE(io.run(previews->open()).has_value());
        server = std::make_unique<http::Server>(io.context, http_test::gate(), http::ServerOptions{},
                                                http_test::routes(seen));
        server->add_site(previews->site());
        port = server->listen("127.0.0.1", 0).value().port();
        REQUIRE(previews->reached_at("http://localhost:" + std::to_string(port)).has_value());
    }
    preview::Link link(int to = 5173, Access access = Access::by_link,
                       std::map<std::string, int> rules = {}) {
        preview::LinkRequest r;
        r.workspace = "named";
        r.port = to;
        r.access = access;
        if (!rules.empty()) r.rules = rules;
        return io.run(previews->link("me", r)).value();
    }
    std::string host(int of = 5173) const {
        return std::to_string(of) + "-" + kWorkspace + ".localhost:" + std::to_string(port);
    }
    std::string get(std::string target, std::string more = {}, int of = 5173,
                    std::string method = "GET") const {
        return method + " " + target + " HTTP/1.1\r\nHost: " + host(of) + "\r\n" + more + "\r\n";
    }
    static std::string with(preview::Link const& l) { return "Berth-Preview-Token: " + l.token + "\r\n"; }
    /// One answer on a connection of its own.
    http_test::Answer ask(std::string request) {
        return io.run([](World& w, std::string text) -> Task<http_test::Answer> {
            Client client(w.io.context);
            co_await client.connect(w.port);
            co_return co_await client.ask(std::move(text));
        }(*this, std::move(request)));
    }
    std::string ask_all(std::string request) {
        return io.run([](World& w, std::string text) -> Task<std::string> {
            Client client(w.io.context);
            co_await client.connect(w.port);
            co_await client.send(std::move(text));
            co_return co_await client.rest();
        }(*this, std::move(request)));
    }
    template <class Condition>
    Task<void> until(Condition condition) {
        while (!condition()) co_await base::sleep_for(base::milliseconds(5));
    }

    testing_support::Io io;
    testing_support::TemporaryDirectory dir;
    std::unique_ptr<registry::Registry> registry;
    App app{io.context}, other{io.context};
    FakeBackend backend;
    http_test::Seen seen;
    std::unique_ptr<preview::Previews> previews;
    std::unique_ptr<http::Server> server;
    std::uint16_t port = 0;
};

std::string const kHandshake =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    "dGhlIHNhbXBsZSBub25jZQ==\r\n";
std::string const kPage = "Accept: text/html,*/*\r\n";

}  // namespace

namespace http_test {
std::vector<http::Route> routes(Seen& seen) {
    http::Handler handler = [&seen](http::Request, http::Reply& reply) -> Task<void> {
        ++seen.requests;
        (void)co_await reply.send(http::Status::ok, {}, "control");
    };
    return {{"/health", {http::Verb::get}, http::Access::open, 0, handler}};
}
}  // namespace http_test

TEST_CASE("a private preview opens to its link, its token and its cookie, and to nothing else") {
    World w;
    auto const link = w.link();
    CHECK(link.url == link.origin + "/?berth_preview=" + link.token);

    SUBCASE("without a credential nothing reaches the program, HTTP or WebSocket, whatever the method") {
        for (std::string const method : {"GET", "POST", "OPTIONS", "DELETE", "TRACE", "BREW"})
            CHECK(w.ask(w.get("/", {}, 5173, method)).status == 401);
        CHECK(w.ask(w.get("/ws", kHandshake)).status == 401);
        CHECK(w.app.requests == 0);
        CHECK(w.backend.leases == 0);
    }
    SUBCASE("the link sets a cookie and leaves the address; the cookie then opens") {
        auto const first = w.ask(w.get("/a?x=1&berth_preview=" + link.token, kPage));
        CHECK(first.status == 303);
        CHECK(first.has("Location: http://" + w.host() + "/a?x=1\r\n"));
        auto const at = first.head.find("Set-Cookie: ") + 12;
        auto const cookie = first.head.substr(at, first.head.find(';', at) - at);
        CHECK(w.app.requests == 0);
        auto const second = w.ask(w.get("/a?x=1", kPage + "Cookie: a=b; " + cookie + "\r\n"));
        CHECK(second.status == 200);
        CHECK(second.body == "GET /a?x=1 ");
        CHECK(w.app.last.fields["Cookie"] == "a=b");
        auto const at_other = w.get("/", "Cookie: " + cookie + "\r\n", 8000);
        CHECK(w.ask(at_other).status == 404);  // no preview yet
        w.link(8000);
        CHECK(w.ask(at_other).status == 403);
    }
    SUBCASE("another site's page gets nothing by the visitor's cookie") {
        auto const first = w.ask(w.get("/?berth_preview=" + link.token, kPage));
        auto const at = first.head.find("Set-Cookie: ") + 12;
        auto const cookie = "Cookie: " + first.head.substr(at, first.head.find(';', at) - at) + "\r\n";
        auto const asks = [&](std::string more, std::string method = "GET") {
            return w.ask(w.get("/", cookie + more, 5173, method)).status;
        };
        std::string const site = "Sec-Fetch-Site: ", mode = "Sec-Fetch-Mode: ";
        CHECK(asks("Origin: http://5173-ws-other.localhost\r\n") == 401);
        CHECK(asks("Origin: http://5173-ws-other.localhost\r\n" + kHandshake) == 401);
        CHECK(asks("Origin: https://evil.example\r\n", "POST") == 401);
        CHECK(asks("Origin: null\r\n", "POST") == 401);
        CHECK(asks("Origin: http://" + w.host() + "\r\nOrigin: http://" + w.host() + "\r\n") == 401);
        CHECK(asks(site + "same-site\r\n" + mode + "no-cors\r\n") == 401);
        CHECK(asks(site + "cross-site\r\n" + mode + "cors\r\nReferer: https://evil.example/\r\n") == 401);
        CHECK(w.app.requests == 0);
        CHECK(asks("") == 200);
        CHECK(asks("Origin: http://" + w.host() + "\r\n", "POST") == 200);
        CHECK(asks("Origin: http://" + w.host(8000) + "\r\n", "POST") == 200);
        CHECK(asks("Origin: null\r\n" + site + "same-origin\r\n", "POST") == 200);
        CHECK(asks(site + "same-site\r\n" + mode + "no-cors\r\nReferer: http://" + w.host(8000) + "/\r\n") == 200);
        CHECK(asks(site + "cross-site\r\n" + mode + "navigate\r\nSec-Fetch-Dest: iframe\r\n") == 200);
        CHECK(asks(site + "same-origin\r\n" + mode + "cors\r\n") == 200);
        auto const token = "Origin: https://app.example\r\n" + w.with(link);
        CHECK(asks(token, "POST") == 200);  // what a page has to know is no cookie
    }
    SUBCASE("the operator's own token stays outside, and opens nothing") {
        CHECK(w.ask(w.get("/", "Authorization: Bearer right\r\n")).status == 401);
        CHECK(w.ask(w.get("/", w.with(link) + "Authorization: Bearer right\r\n")).status == 200);
        CHECK(w.app.last.fields.count("Authorization") == 0);
    }
    SUBCASE("no path makes the link lead elsewhere") {
        auto const answer = w.ask(w.get("//evil.example/?berth_preview=" + link.token, kPage));
        CHECK(answer.has("Location: http://" + w.host() + "//evil.example/\r\n"));
    }
    SUBCASE("a program gets its answer at once, and the credential stays outside") {
        CHECK(w.ask(w.get("/p?berth_preview=" + link.token)).body == "GET /p ");
        CHECK(w.ask(w.get("/p", "Authorization: Bearer " + link.token + "\r\n")).status == 200);
        CHECK(w.app.last.fields["Authorization"].empty());
        CHECK(w.ask(w.get("/p", w.with(link) + "Authorization: Bearer theirs\r\n")).status == 200);
        CHECK(w.app.last.fields["Authorization"] == "Bearer theirs");
        CHECK(w.app.last.fields.count("Berth-Preview-Token") == 0);
        CHECK(w.app.last.fields["Host"] == w.host());
        CHECK(w.app.last.fields["X-Forwarded-For"] == "127.0.0.1");
    }
    SUBCASE("a wrong credential is refused though the program would be public to others") {
        CHECK(w.ask(w.get("/", "Berth-Preview-Token: bp1.l.99.x\r\n")).status == 403);
        CHECK(w.ask(w.get("/?berth_preview=x")).status == 403);
    }
    SUBCASE("a link survives a restart of the server") {
        w.open({});
        CHECK(w.ask(w.get("/", w.with(link))).status == 200);
    }
}

TEST_CASE("revoking holds at once and for good") {
    World w;
    auto const link = w.link(), other = w.link(8000);
    w.io.run([](World& x, preview::Link const& l) -> Task<void> {
        Client socket(x.io.context), stream(x.io.context);
        co_await socket.connect(x.port);
        co_await stream.connect(x.port);
        co_await socket.send(x.get("/ws", x.with(l) + kHandshake));
        co_await stream.send(x.get("/endless", x.with(l)));
        (void)co_await socket.until("\r\n\r\n");
        (void)co_await stream.until("tick");
        co_await socket.send("hello");
        (void)co_await socket.until("hello");
        auto const revoked = co_await x.previews->revoke("me", "named", 5173);
        CHECK(revoked.value() == 1);
        (void)co_await socket.rest();
        (void)co_await stream.rest();
        auto const ended = [&x] { return x.app.sockets == 0 && x.backend.leases == 0; };
        co_await x.until(ended);
    }(w, link));
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK(w.ask(w.get("/", w.with(other), 8000)).status == 200);
    w.open({});
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK(w.previews->list("me", "").size() == 2);
    auto const fresh = w.link();
    CHECK(w.ask(w.get("/", w.with(fresh))).status == 200);
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK_FALSE(w.io.run(w.previews->revoke("me", "named", 9999)).has_value());
    CHECK_FALSE(w.io.run(w.previews->revoke("you", "named", 5173)).has_value());
}

TEST_CASE("a public preview is open to all until it is made private") {
    World w;
    w.link(5173, Access::open);
    CHECK(w.ask(w.get("/")).status == 200);
    w.io.run([](World& x) -> Task<void> {
        Client socket(x.io.context);
        co_await socket.connect(x.port);
        co_await socket.send(x.get("/ws", kHandshake));
        (void)co_await socket.until("\r\n\r\n");
        preview::LinkRequest r;
        r.workspace = kWorkspace;
        r.port = 5173;
        auto const link = co_await x.previews->link("me", r);
        CHECK(link.has_value());
        (void)co_await socket.rest();
    }(w));
    CHECK(w.ask(w.get("/")).status == 401);
    preview::Options none;
    none.allow_public = false;
    w.open(none);
    preview::LinkRequest r;
    r.workspace = kWorkspace;
    r.port = 5173;
    r.access = Access::open;
    CHECK(base::is(w.io.run(w.previews->link("me", r)).error(), base::errc::denied));
}

TEST_CASE("the control plane and previews never answer for each other") {
    World w;
    w.link(5173, Access::open);
    CHECK(w.ask(w.get("/health")).body == "GET /health ");
    CHECK(w.seen.requests == 0);
    auto const odd = [&](std::string const& host) {
        return w.ask("GET /health HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
    };
    CHECK(odd("localhost") == 200);
    CHECK(w.app.requests == 1);
    CHECK(odd("5173-" + kWorkspace + ".LOCALHOST") == 404);
    CHECK(odd("05173-" + kWorkspace + ".localhost") == 404);
    CHECK(odd("5173-ws-unknown.localhost") == 404);
    CHECK(odd("x.localhost") == 404);
    CHECK(odd("5173-" + kWorkspace + ".localhost.") == 403);
    CHECK(w.app.requests == 1);
    CHECK(w.seen.requests == 1);
}

TEST_CASE("one request in, one out, or none") {
    World w;
    auto const link = w.link();
    auto const auth = w.with(link);
    auto const rider = w.get("/smuggled", auth);

    SUBCASE("what could be read in two ways reaches no program") {
        for (std::string const head :
             {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
              "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
              "Transfer-Encoding: xchunked\r\n\r\n", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
              "Transfer-Encoding:\x0b"
              "chunked\r\n\r\n0\r\n\r\n",
              "X: a\n\r\n", "X: a\r\n b\r\n\r\n", "X: a\rGET /smuggled HTTP/1.1\r\n\r\n",
              "Content-Length: +1\r\n\r\n"}) {
            CAPTURE(head);
            auto const all = w.ask_all("POST / HTTP/1.1\r\nHost: " + w.host() + "\r\n" + auth + head + rider);
            CHECK(all.starts_with("HTTP/1.1 400 "));
            CHECK(all.find("HTTP/1.1", 1) == std::string::npos);
        }
        CHECK(w.app.requests == 0);
    }
    SUBCASE("bad chunks end the request") {
        for (std::string const chunks :
             {"5\nhello\n0\n\n", "zz\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "-1\r\n", "1;\x01\r\na\r\n"}) {
            CAPTURE(chunks);
            auto const all = w.ask_all(
                w.get("/", auth + "Transfer-Encoding: chunked\r\nConnection: close\r\n", 5173, "POST") +
                chunks + rider);
            CHECK(all.find("smuggled") == std::string::npos);
        }
    }
    SUBCASE("a body is a body, whatever it looks like, and is framed anew") {
        auto const answer = w.ask(
            w.get("/", auth + "Content-Length: " + std::to_string(rider.size()) + "\r\n", 5173, "POST") +
            rider);
        CHECK(answer.body == "POST / " + rider);
        CHECK(w.app.last.length == rider.size());
        auto const chunked = w.ask(w.get("/", auth + "Transfer-Encoding: chunked\r\n", 5173, "POST") +
                                   "3;ext=\"x\"\r\nabc\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n");
        CHECK(chunked.body == "POST / abc");
        CHECK(w.app.last.fields.count("X-Trailer") == 0);
        CHECK(w.app.requests == 2);
    }
    SUBCASE("an upgrade that the program refuses leaves no tunnel") {
        auto const all =
            w.ask_all(w.get("/plain", auth + kHandshake) + w.get("/second", auth + "Connection: close\r\n"));
        CHECK(all.find("GET /plain ") != std::string::npos);
        CHECK(all.find("GET /second ") != std::string::npos);  // read by us, not by the program
        CHECK(w.app.requests == 2);
        CHECK(w.ask(w.get("/ws", auth + "Connection: Upgrade\r\nUpgrade: websocket\r\n")).status == 400);
        CHECK(w.ask(w.get("/ws", auth + kHandshake + "Content-Length: 3\r\n") + "abc").status == 400);
        CHECK(
            w.ask(w.get(
                      "/x",
                      auth + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"))
                .status == 200);
        CHECK(w.app.last.fields.count("Upgrade") == 0);
        CHECK(w.app.last.fields.count("HTTP2-Settings") == 0);
        w.app.wrong_accept = true;
        CHECK(w.ask(w.get("/ws", auth + kHandshake)).status == 502);
    }
}

TEST_CASE("connections to a program are used again where that can do no harm") {
    World w;
    auto const auth = w.with(w.link());
    for (int i = 0; i < 3; ++i) CHECK(w.ask(w.get("/", auth)).status == 200);
    CHECK(w.backend.connects == 1);
    CHECK(w.ask(w.get("/", auth + "Content-Length: 1\r\n", 5173, "POST") + "x").status == 200);
    CHECK(w.backend.connects == 2);

    SUBCASE("one that the program closed meanwhile costs the visitor nothing") {
        w.app.start();
        w.backend.ports[5173] = w.app.port;
        CHECK(w.ask(w.get("/", auth)).status == 200);
    }
    SUBCASE("none outlives its sandbox") {
        w.backend.generation = 2;
        CHECK(w.ask(w.get("/", auth)).status == 200);
        CHECK(w.backend.connects == 3);
    }
}

TEST_CASE("answers come as the program gives them") {
    World w;
    auto const auth = w.with(w.link());
    CHECK(w.ask(w.get("/early", auth + "Content-Length: 1000000\r\n", 5173, "POST")).status == 413);
    auto const dense = w.ask(w.get("/dense-cookie", auth + "Content-Length: 1000000\r\n", 5173, "POST"));
    CHECK(dense.status == 200);  // does not grow on its way beyond what a field can hold
    CHECK(dense.body == "set");
    auto const cut = w.ask_all(w.get("/cut", auth));
    CHECK(cut.find("Content-Length: 200000\r\n") != std::string::npos);
    CHECK(cut.ends_with("only this"));
    w.io.run([](World& x, std::string a) -> Task<void> {
        Client client(x.io.context);
        co_await client.connect(x.port);
        auto const request = x.get("/", a, 5173, "HEAD") + x.get("/", a);
        co_await client.send(request);
        auto const head = co_await client.answer(false);
        CHECK(head.has("Content-Length: 7\r\n"));
        auto const get = co_await client.answer();
        CHECK(get.body == "GET / ");
        co_await client.send(x.get("/endless", a));
        (void)co_await client.until("data: tick\n\n\r\nc\r\ndata: tick");
        client.close();
        auto const ended = [&x] {
            return x.backend.leases == 0;
        };  // the program's side ends with the visitor
        co_await x.until(ended);
    }(w, auth));
}

TEST_CASE("when nothing answers, a page says why") {
    World w;
    auto const closed = w.with(w.link(3000));
    auto const page = w.ask(w.get("/", closed, 3000));
    CHECK(page.status == 502);
    CHECK(page.has("Berth-Preview: crashed"));
    CHECK(page.body.find("listening: 5173 (node, 127.0.0.1)") != std::string::npos);
    CHECK(page.body.find("the last words") != std::string::npos);
    w.link(3000, Access::open);
    auto const to_all = w.ask(w.get("/", "Accept: application/json\r\n", 3000));
    CHECK(to_all.body.find("the last words") == std::string::npos);
    CHECK(base::parse_json(to_all.body).value()["error"] == "nothing_listens");
    CHECK(to_all.body.find("8000") == std::string::npos);  // nor what else runs there

    SUBCASE("and a program that just began is waited for") {
        w.backend.starting = true;
        w.io.run([](World& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(x.get("/late", {}, 3000));
            auto const tried = [&x] { return x.backend.connects > 3; };
            co_await x.until(tried);
            x.backend.ports[3000] = x.app.port;
            auto const answer = co_await client.answer();
            CHECK(answer.status == 200);
        }(w));
    }
    SUBCASE("also one that takes too long to answer") {
        preview::Options options;
        options.answer_limit = base::milliseconds(1);
        w.open(options);
        auto const auth = w.with(w.link());
        CHECK(w.ask(w.get("/never", auth)).status == 504);
    }
    SUBCASE("also one that does not speak HTTP") {
        testing_support::ScriptedServer ssh(w.io.context, {"SSH-2.0-x\r\n\r\n"});
        w.backend.ports[3000] = ssh.port();
        CHECK(w.ask(w.get("/", {}, 3000)).status == 502);
    }
}

TEST_CASE("a sleeping workspace is woken once, by a bounded number of visitors") {
    preview::Options options;
    options.max_held_per_workspace = 3;
    World w(options);
    auto const auth = w.with(w.link());
    w.backend.asleep = w.backend.hold = true;

    SUBCASE("who are all answered when it is up") {
        w.io.run([](World& x, std::string a) -> Task<void> {
            std::vector<std::unique_ptr<Client>> clients;
            for (int i = 0; i < 4; ++i) {
                clients.push_back(std::make_unique<Client>(x.io.context));
                co_await clients.back()->connect(x.port);
                auto const request = i == 0 ? x.get("/ws", a + kHandshake) : x.get("/", a);
                co_await clients.back()->send(request);
                if (i < 3) co_await base::sleep_for(base::milliseconds(20));
            }
            auto const refused = co_await clients[3]->answer();
            CHECK(refused.status == 503);
            x.backend.hold = false;
            auto const socket = co_await clients[0]->until("\r\n\r\n");
            CHECK(socket.starts_with("HTTP/1.1 101 "));
            for (int i = 1; i < 3; ++i) {
                auto const answer = co_await clients[static_cast<std::size_t>(i)]->answer();
                CHECK(answer.status == 200);
            }
            CHECK(x.backend.wakes == 1);
        }(w, auth));
    }
    SUBCASE("who are told when it cannot be, or takes long") {
        w.backend.hold = false;
        w.backend.wake_fails = "no room for another sandbox";
        auto const page = w.ask(w.get("/", auth));
        CHECK(page.status == 503);
        CHECK(page.body.find("no room for another sandbox") != std::string::npos);
        w.link(8000, Access::open);
        auto const anonymous = w.ask(w.get("/", {}, 8000));
        CHECK(anonymous.status == 503);
        CHECK(anonymous.body.find("sandbox") == std::string::npos);
        w.backend.throws = true;
        CHECK(w.ask(w.get("/", auth)).status == 503);
        w.backend.throws = false;
        CHECK(w.ask(w.get("/", auth)).body.find("no room for another sandbox") != std::string::npos);
        preview::Options hasty;
        hasty.wake_limit = base::milliseconds(10);
        w.open(hasty);
        w.backend.hold = true;
        CHECK(w.ask(w.get("/", auth)).has("Berth-Preview: starting"));
        w.backend.hold = false;
    }
    SUBCASE("but not by those who were not let in, nor when it was deleted") {
        CHECK(w.ask(w.get("/")).status == 401);
        w.backend.deleted = true;
        CHECK(w.ask(w.get("/", auth)).status == 404);
        CHECK(w.backend.wakes == 0);
        CHECK(w.previews->list("me", "").empty());
        w.backend.hold = false;
    }
}

TEST_CASE("several programs under one URL") {
    World w;
    auto const auth = w.with(w.link(5173, Access::by_link, {{"/api", 8000}, {"/api/v2", 5173}}));
    auto const at = [&](std::string path) {
        auto const before = w.other.requests;
        CHECK(w.ask(w.get(path, auth)).status == 200);
        return w.other.requests > before ? 8000 : 5173;
    };
    CHECK(at("/") == 5173);
    CHECK(at("/api") == 8000);
    CHECK(at("/api/x?y") == 8000);
    CHECK(at("/api?x=/") == 8000);
    CHECK(at("/apix") == 5173);
    CHECK(at("/api/v2/x") == 5173);
    w.open({});
    CHECK(at("/api") == 8000);
    preview::LinkRequest r;
    r.workspace = kWorkspace;
    r.port = 5173;
    for (std::string const bad : {"api", "/api/", "/a b", "/a?b", ""}) {
        r.rules = std::map<std::string, int>{{bad, 8000}};
        CHECK_MESSAGE(w.io.run(w.previews->link("me", r)).has_error(), bad);
    }
}

TEST_CASE("limits of visitors and previews") {
    preview::Options options;
    options.max_per_visitor = 2;
    World w(options);
    auto const auth = w.with(w.link());
    w.io.run([](World& x, std::string a) -> Task<void> {
        Client one(x.io.context), two(x.io.context), three(x.io.context);
        for (auto* c : {&one, &two}) {
            co_await c->connect(x.port);
            co_await c->send(x.get("/endless", a));
            (void)co_await c->until("tick");
        }
        co_await three.connect(x.port);
        auto const refused = co_await three.ask(x.get("/", a));
        CHECK(refused.status == 503);
        one.close();
        auto const ended = [&x] { return x.backend.leases == 1; };
        co_await x.until(ended);
        auto const served = co_await three.ask(x.get("/", a));
        CHECK(served.status == 200);
        two.close();
    }(w, auth));
    auto const view = w.previews->list("me", "");
    REQUIRE(view.size() == 1);
    CHECK(view[0].requests >= 3);
    auto const log = w.previews->log(view[0].preview_id, 10);
    REQUIRE_FALSE(log.empty());
    CHECK(log.back().by == "token");
    CHECK(w.previews->metrics().find("berth_preview_requests_total{answer=\"2xx\"}") != std::string::npos);
}

TEST_CASE("looking at a port, and at a page as a visitor") {
    World w;
    auto look = [&](int port, int wait_ms) {
        auto chosen = port;
        auto const r =
            w.io.run(w.previews->look("me", "named", chosen, "/", base::milliseconds(wait_ms))).value();
        return std::make_pair(chosen, r);
    };
    CHECK(look(5173, 0).second.ready);
    CHECK(look(5173, 100).second.status == 200);
    CHECK(look(0, 0).first == 5173);
    auto const silent = look(3000, 0).second;
    CHECK_FALSE(silent.ready);
    CHECK(silent.listening.size() == 2);
    CHECK(silent.hint.find("3000") != std::string::npos);
    w.backend.asleep = true;
    CHECK_FALSE(look(5173, 0).second.awake);
    CHECK(w.backend.wakes == 0);
    CHECK(look(5173, 100).second.ready);
    auto const link = w.link();
    auto const visit = w.io.run(w.previews->visit(link, "/hello", base::milliseconds(5'000))).value();
    CHECK(visit.status == 200);
    CHECK(visit.body == "GET /hello ");
    CHECK(w.app.last.fields.count("Berth-Preview-Token") == 0);
}
