#pragma once
#include "../http/client.hpp"

#include <doctest/doctest.h>

#include <headers.hpp>
#include <traffic.hpp>
#include <preview/previews.hpp>
#include <testing/io.hpp>
#include <testing/socket_stream.hpp>

/// A server with previews of one workspace, whose programs are servers of the test itself.
namespace preview_test {

using base::Task;
using http_test::Client;
using preview::Access;

inline std::string const kWorkspace = "ws-abcdefghijklmnopqrstuvwxyz";

/// Workspaces that are processes of this test: each port is one of loopback, or nothing.
struct FakeBackend final : preview::Backend {
    struct Up final : preview::Awake {
        explicit Up(FakeBackend& f) : fake(f) { ++fake.leases; }
        ~Up() override { --fake.leases; }
        bool restarted() const override { return fake.restarted; }
        std::uint64_t generation() const override { return fake.generation; }
        Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(int port) override {
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
        Task<std::optional<base::milliseconds>> youngest() override { co_return fake.youngest; }
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
    bool asleep = false, hold = false, deleted = false, restarted = false;
    std::optional<base::milliseconds> youngest;  ///< command that runs: how old it is
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

inline std::string const kHandshake =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    "dGhlIHNhbXBsZSBub25jZQ==\r\n";
inline std::string const kPage = "Accept: text/html,*/*\r\n";

}  // namespace preview_test
