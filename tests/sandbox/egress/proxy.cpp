#include "fake_stream.hpp"

#include <base/timeout.hpp>
#include <sandbox/egress.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

using base::Task;
using egress_test::FakeStream;
using egress_test::Wire;
using sandbox::EgressPolicy;
using sandbox::EgressProxy;

namespace {

using asio::ip::tcp;

struct World {
    testing_support::Io io;
    tcp::acceptor acceptor{io.context, {asio::ip::make_address("127.0.0.1"), 0}};
    int const port = acceptor.local_endpoint().port();
    std::vector<EgressProxy::Record> records;
    std::unique_ptr<EgressProxy> proxy;

    explicit World(bool exempt = true, EgressProxy::Options options = {}) {
        if (exempt) options.insecure_private_addresses = {"127.0.0.0/8"};
        proxy = std::make_unique<EgressProxy>(io.context, options, [this](auto const& r) { records.push_back(r); });
    }
    std::string target() const { return "127.0.0.1:" + std::to_string(port); }

    std::shared_ptr<Wire> open(std::vector<std::string> const& patterns, std::string bytes, std::string workspace = "ws-1") {
        auto wire = std::make_shared<Wire>(io.context);
        wire->to_proxy = std::move(bytes);
        auto policy = std::make_shared<EgressPolicy const>(EgressPolicy::parse(patterns).value());
        proxy->serve(std::make_unique<FakeStream>(wire), std::move(workspace), policy);
        return wire;
    }
    template <class Condition>
    void wait(std::shared_ptr<Wire> wire, Condition condition) {
        io.run(until(std::move(wire), std::move(condition)));
    }
    void wait_closed(std::shared_ptr<Wire> const& wire) {
        wait(wire, [](Wire& w) { return w.closed; });
    }

  private:
    template <class Condition>
    static Task<void> until(std::shared_ptr<Wire> wire, Condition condition) {
        while (!condition(*wire)) co_await wire->changed.async_wait(base::as_tuple);
    }
};

Task<std::shared_ptr<tcp::socket>> accept(tcp::acceptor& acceptor) {
    co_return std::make_shared<tcp::socket>(co_await acceptor.async_accept(asio::use_awaitable));
}

Task<std::string> read_until(tcp::socket& socket, std::string end) {
    std::string text;
    co_await asio::async_read_until(socket, asio::dynamic_buffer(text), end, asio::use_awaitable);
    co_return text;
}
Task<std::string> read_to_end(tcp::socket& socket) {
    std::string text;
    co_await asio::async_read(socket, asio::dynamic_buffer(text), base::as_tuple);
    co_return text;
}

bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the egress proxy") {
    SUBCASE("tunnels both ways and passes on each end by itself") {
        World w;
        auto const wire = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\nearly ");
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        CHECK(w.io.run(read_until(server, "early ")) == "early ");
        wire->to_proxy += "bird";
        wire->program_ended = true;
        wire->wake();
        CHECK(w.io.run(read_to_end(server)) == "bird");
        asio::write(server, asio::buffer(std::string("answer")));
        server.close();
        w.wait_closed(wire);
        CHECK(wire->to_program == "HTTP/1.1 200 Connection established\r\n\r\nanswer");
        CHECK(wire->proxy_ended);
        REQUIRE(w.records.size() == 1);
        CHECK(w.records[0].allowed);
        CHECK(w.records[0].workspace_id == "ws-1");
        CHECK(w.records[0].host == "127.0.0.1");
        CHECK(w.records[0].port == w.port);
    }
    SUBCASE("ends what is open to a host that a new list does not allow, of that workspace alone") {
        World w;
        auto const wire = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\n");
        auto const server = w.io.run(accept(w.acceptor));
        auto const listed = [](std::vector<std::string> const& patterns) {
            return std::make_shared<EgressPolicy const>(EgressPolicy::parse(patterns).value());
        };
        w.proxy->hold_to("ws-1", listed({w.target(), "example.com"}));
        w.proxy->hold_to("ws-2", listed({}));
        asio::write(*server, asio::buffer(std::string("still")));
        w.wait(wire, [](Wire& there) { return there.to_program.ends_with("still"); });
        CHECK_FALSE(wire->closed);
        w.proxy->hold_to("ws-1", listed({"example.com"}));
        w.wait_closed(wire);
        CHECK(w.io.run(read_to_end(*server)) == "");
    }
    SUBCASE("holds one whose request has not come yet to the new list") {
        World w;
        auto const wire = w.open({w.target()}, "CONNECT ");
        w.io.run(base::sleep_for(std::chrono::milliseconds(20)));
        w.proxy->hold_to("ws-1", std::make_shared<EgressPolicy const>());
        wire->to_proxy += w.target() + " HTTP/1.1\r\n\r\n";
        wire->wake();
        w.wait_closed(wire);
        CHECK(contains(wire->to_program, "403"));
    }
    SUBCASE("passes on one plain request with its body, and nothing that follows it") {
        World w;
        auto const wire = w.open({w.target()}, "POST http://" + w.target() +
                                                   "/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET http://evil/ HTTP/1.1\r\n\r\n");
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        auto const seen = w.io.run(read_until(server, "body"));
        CHECK(seen == "POST /x HTTP/1.1\r\nHost: " + w.target() + "\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
        asio::write(server, asio::buffer(std::string("HTTP/1.1 200 OK\r\n\r\nfine")));
        server.shutdown(tcp::socket::shutdown_send);
        CHECK(w.io.run(read_to_end(server)) == "");
        w.wait_closed(wire);
        CHECK(wire->to_program == "HTTP/1.1 200 OK\r\n\r\nfine");
    }
    SUBCASE("ends an exchange when the server has answered before the body came") {
        World w;
        auto const wire = w.open({w.target()}, "POST http://" + w.target() + "/ HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        (void)w.io.run(read_until(server, "\r\n\r\n"));
        asio::write(server, asio::buffer(std::string("HTTP/1.1 413 No\r\n\r\n")));
        server.close();
        w.wait_closed(wire);
        CHECK(wire->to_program == "HTTP/1.1 413 No\r\n\r\n");
    }
    SUBCASE("says what is allowed when a host is not") {
        World w;
        auto const wire = w.open({"*.npmjs.org", "example.com:8080"}, "CONNECT pypi.org:443 HTTP/1.1\r\n\r\n");
        w.wait_closed(wire);
        CHECK(wire->to_program.starts_with("HTTP/1.1 403 Host not in the allow-list\r\n"));
        CHECK(contains(wire->to_program, "\r\n\r\npypi.org is not in this workspace's allow-list (allowed: *.npmjs.org, "
                                         "example.com:8080). Ask for it in network.allow of workspace_create.\n"));
        REQUIRE(w.records.size() == 1);
        CHECK_FALSE(w.records[0].allowed);
        CHECK(w.records[0].host == "pypi.org");
    }
    SUBCASE("refuses private addresses by name and by number, though the policy names them") {
        World w(false);
        for (std::string const host : {"localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254"}) {
            INFO(host);
            auto const at = host + ":" + std::to_string(w.port);
            auto const wire = w.open({at, "*:" + std::to_string(w.port)}, "CONNECT " + at + " HTTP/1.1\r\n\r\n");
            w.wait_closed(wire);
            CHECK(wire->to_program.starts_with("HTTP/1.1 403 Forbidden\r\n"));
            CHECK(contains(wire->to_program, "workspaces reach public addresses only"));
        }
        w.acceptor.non_blocking(true);
        boost::system::error_code ec;
        (void)w.acceptor.accept(ec);
        CHECK(ec == asio::error::would_block);
    }
    SUBCASE("answers 502 when nobody listens, and 400 to what it cannot read") {
        World w;
        w.acceptor.close();
        auto const dead = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\n");
        w.wait_closed(dead);
        CHECK(dead->to_program.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
        auto const bad = w.open({w.target()}, "GET / HTTP/1.1\r\n\r\n");
        w.wait_closed(bad);
        CHECK(bad->to_program.starts_with("HTTP/1.1 400 Bad Request\r\n"));
        CHECK(contains(bad->to_program, "this is a proxy"));
    }
    SUBCASE("stops reading a head that is too long, and one that ends early") {
        World w;
        auto const endless = w.open({"*"}, "GET http://a.example/ HTTP/1.1\r\nX: " + std::string(100'000, 'x'));
        w.wait_closed(endless);
        CHECK(endless->to_program.starts_with("HTTP/1.1 431 "));
        CHECK(endless->to_proxy.size() > 50'000);
        auto const cut = w.open({"*"}, "GET http://");
        cut->program_ended = true;
        w.wait_closed(cut);
        CHECK(cut->to_program.empty());
    }
    SUBCASE("closes a tunnel in which nothing moves") {
        EgressProxy::Options options;
        options.idle_limit = base::milliseconds(50);
        World w(true, options);
        auto const wire = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\n");
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        w.wait_closed(wire);
        CHECK(w.io.run(read_to_end(server)) == "");
    }
    SUBCASE("reads no more from a server than the program takes") {
        World w;
        auto const wire = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\n");
        wire->credit = 64;
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        server.non_blocking(true);
        // Whatever the kernel's buffers hold, without a reader they fill up.
        std::string const block(1 << 20, 'x');
        boost::system::error_code ec;
        std::size_t sent = 0;
        for (int idle = 0; idle < 20;) {
            auto const n = server.write_some(asio::buffer(block), ec);
            sent += n;
            idle = n ? 0 : idle + 1;
            w.io.run(base::sleep_for(base::milliseconds(1)));
            REQUIRE(sent < (256u << 20));
        }
        CHECK(wire->to_program.size() == 64);
        server.close();
        wire->credit = SIZE_MAX;
        wire->program_ended = true;
        wire->wake();
        w.wait_closed(wire);
        CHECK(wire->to_program.size() == 39 + sent);
    }
    SUBCASE("lets what exceeds the number of connections wait for its turn, in the order of arrival") {
        EgressProxy::Options options;
        options.max_connections_per_sandbox = 2;
        World w(true, options);
        auto const bad = "GET / HTTP/1.1\r\n\r\n";    // is answered at once
        auto const first = w.open({"*"}, ""), second = w.open({"*"}, "");
        auto const third = w.open({"*"}, bad), fourth = w.open({"*"}, "");
        w.io.run(base::sleep_for(base::milliseconds(20)));
        CHECK_FALSE(third->closed);
        CHECK(third->to_proxy == bad);    // nothing of it is held
        first->program_ended = true;
        first->wake();
        w.wait_closed(third);
        CHECK(third->to_program.starts_with("HTTP/1.1 400 "));
        CHECK_FALSE(second->closed);
        fourth->to_proxy = bad;
        fourth->wake();
        w.wait_closed(fourth);
        CHECK(fourth->to_program.starts_with("HTTP/1.1 400 "));
    }
    SUBCASE("serves hundreds that come at once, each of them") {
        World w;
        std::vector<std::shared_ptr<Wire>> all;
        for (int i = 0; i < 300; ++i) all.push_back(w.open({"example.com"}, "CONNECT pypi.org:443 HTTP/1.1\r\n\r\n"));
        for (auto const& wire : all) {
            w.wait_closed(wire);
            CHECK(wire->to_program.starts_with("HTTP/1.1 403 "));
        }
    }
    SUBCASE("closes what exceeds those that may wait, and takes new ones once old ones ended") {
        EgressProxy::Options options;
        options.max_connections_per_sandbox = 1;
        options.max_waiting_per_sandbox = 1;
        World w(true, options);
        auto const first = w.open({"*"}, ""), second = w.open({"*"}, "");
        auto const third = w.open({"*"}, "");
        CHECK(third->closed);
        CHECK_FALSE(second->closed);
        first->program_ended = second->program_ended = true;
        first->wake();
        w.wait_closed(first);
        w.wait_closed(second);
        w.io.run(base::sleep_for(base::milliseconds(1)));
        auto const fourth = w.open({"*"}, "");
        CHECK_FALSE(fourth->closed);
    }
    SUBCASE("closes what waits in vain, and its place is free again") {
        EgressProxy::Options options;
        options.max_connections_per_sandbox = 1;
        options.max_waiting_per_sandbox = 1;
        options.turn_limit = base::milliseconds(30);
        World w(true, options);
        auto const first = w.open({"*"}, ""), second = w.open({"*"}, "");
        w.wait_closed(second);
        CHECK(second->to_program.empty());
        CHECK_FALSE(first->closed);
        w.io.run(base::sleep_for(base::milliseconds(1)));
        auto const third = w.open({"*"}, "");
        CHECK_FALSE(third->closed);
    }
    SUBCASE("does not let one sandbox wait for the connections of another") {
        EgressProxy::Options options;
        options.max_connections_per_sandbox = 1;
        World w(true, options);
        auto const mine = w.open({"*"}, "");
        auto const theirs = w.open({"*"}, "GET / HTTP/1.1\r\n\r\n", "ws-2");
        w.wait_closed(theirs);
        CHECK(theirs->to_program.starts_with("HTTP/1.1 400 "));
        CHECK_FALSE(mine->closed);
    }
    SUBCASE("breaks off its connections when it goes, wherever they are") {
        EgressProxy::Options options;
        options.max_connections_per_sandbox = 2;
        World w(true, options);
        auto const reading = w.open({"*"}, "CONN");
        auto const tunnel = w.open({w.target()}, "CONNECT " + w.target() + " HTTP/1.1\r\n\r\n");
        auto const waiting = w.open({"*"}, "GET / HTTP/1.1\r\n\r\n");
        auto const accepted = w.io.run(accept(w.acceptor));
        auto& server = *accepted;
        w.wait(tunnel, [](Wire& x) { return !x.to_program.empty(); });
        w.proxy.reset();
        w.wait_closed(waiting);
        CHECK(waiting->to_program.empty());
        w.wait_closed(reading);
        w.wait_closed(tunnel);
        CHECK(w.io.run(read_to_end(server)) == "");
    }
}
