#include "guest_fixture.hpp"

#include <doctest/doctest.h>

using namespace guest_test;
using base::ByteStream;

namespace {

base::Task<std::string> read_to_end(base::ByteStream& stream) {
    std::string all;
    std::string chunk(10'000, '\0');
    for (;;) {
        auto n = co_await stream.read_some(asio::buffer(chunk));
        if (!n) co_return all + "!" + n.error().message();
        if (*n == 0) co_return all;
        all.append(chunk, 0, *n);
    }
}

base::Task<void> write_and_shut(base::ByteStream& stream, std::string bytes) {
    (co_await stream.write(asio::buffer(bytes))).value();
    stream.shutdown_write();
}

/// A TCP server on a loopback port of this machine, which is also the guest's here; echoes until end of file.
struct EchoServer {
    explicit EchoServer(asio::io_context& io, asio::ip::address address)
        : acceptor(io, asio::ip::tcp::endpoint(address, 0)) {
        asio::co_spawn(io, serve(acceptor), asio::detached);
    }
    static base::Task<void> serve(asio::ip::tcp::acceptor& acceptor) {
        auto [ec, socket] = co_await acceptor.async_accept(base::as_tuple);
        if (ec) co_return;
        std::string chunk(65536, '\0');
        for (;;) {
            auto [read_ec, n] = co_await socket.async_read_some(asio::buffer(chunk), base::as_tuple);
            if (read_ec) break;
            auto [write_ec, m] = co_await asio::async_write(socket, asio::buffer(chunk, n), base::as_tuple);
            if (write_ec) break;
        }
        boost::system::error_code ignored;
        socket.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    }
    int port() const { return acceptor.local_endpoint().port(); }
    asio::ip::tcp::acceptor acceptor;
};

std::string pattern(std::size_t n) {
    std::string out;
    out.reserve(n);
    for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<char>(i * 31 + i / 1000));
    return out;
}

}  // namespace

TEST_CASE("streams: connecting to a port inside") {
    Fixture f;

    SUBCASE("many windows' worth of bytes go both ways, and end of file follows") {
        EchoServer server(f.io.context, asio::ip::address_v4::loopback());
        auto stream = f.io.run(f.guest.connect(server.port())).value();
        auto const bytes = pattern(3'000'000);
        asio::co_spawn(f.io.context, write_and_shut(*stream, bytes), asio::detached);
        CHECK(f.io.run(read_to_end(*stream)) == bytes);
    }
    SUBCASE("a server that listens on ::1 only") {
        EchoServer server(f.io.context, asio::ip::address_v6::loopback());
        auto stream = f.io.run(f.guest.connect(server.port())).value();
        asio::co_spawn(f.io.context, write_and_shut(*stream, "hello"), asio::detached);
        CHECK(f.io.run(read_to_end(*stream)) == "hello");
    }
    SUBCASE("nobody listens") {
        asio::ip::tcp::acceptor taken(f.io.context, {asio::ip::address_v4::loopback(), 0});
        int const port = taken.local_endpoint().port();
        taken.close();
        auto const stream = f.io.run(f.guest.connect(port));
        REQUIRE(stream.has_error());
        CHECK(is(stream.error(), base::errc::unavailable));
        CHECK(stream.error().context.find("refused") != std::string::npos);
    }
    SUBCASE("a stream that the server drops ends the connection inside") {
        asio::ip::tcp::acceptor acceptor(f.io.context, {asio::ip::address_v4::loopback(), 0});
        auto accept = [](asio::ip::tcp::acceptor& a) -> base::Task<std::string> {
            auto socket = co_await a.async_accept(asio::use_awaitable);
            std::string got(100, '\0');
            std::size_t size = 0;
            for (;;) {
                auto [ec, n] = co_await socket.async_read_some(asio::buffer(got.data() + size, got.size() - size),
                                                               base::as_tuple);
                size += n;
                if (ec) break;
            }
            co_return got.substr(0, size);
        };
        {
            auto stream = f.io.run(f.guest.connect(acceptor.local_endpoint().port())).value();
            auto write = [](base::ByteStream& s) -> base::Task<void> {
                std::string const bytes = "last words";
                (co_await s.write(asio::buffer(bytes))).value();
            };
            f.io.run(write(*stream));
        }
        CHECK(f.io.run(accept(acceptor)) == "last words");
    }
    SUBCASE("a new server finds the old one's streams closed") {
        EchoServer server(f.io.context, asio::ip::address_v4::loopback());
        auto stream = f.io.run(f.guest.connect(server.port())).value();
        f.channel->attach();
        std::string chunk(10, '\0');
        CHECK(f.io.run(stream->read_some(asio::buffer(chunk))).has_error());
        f.io.run(f.guest.ping()).value();
    }
}

TEST_CASE("streams: the proxy port") {
    Fixture f;
    sandbox::GuestSetup setup;
    setup.workspace_id = "w";
    setup.egress = {"example.com"};

    SUBCASE("a connection reaches the handler, and the answer the program") {
        std::unique_ptr<base::ByteStream> stream;
        f.guest.on_egress([&](std::unique_ptr<base::ByteStream> s) { stream = std::move(s); });
        f.io.run(f.guest.configure(setup)).value();
        auto s = f.spec("exec 3<>/dev/tcp/127.0.0.1/${HTTP_PROXY##*:}; echo question >&3; cat <&3", milliseconds(1));
        f.start(s).value();
        for (int i = 0; i < 1000 && !stream; ++i) f.io.context.run_one_for(std::chrono::milliseconds(20));
        REQUIRE(stream);
        std::string chunk(100, '\0');
        auto const n = f.io.run(stream->read_some(asio::buffer(chunk))).value();
        CHECK(chunk.substr(0, n) == "question\n");
        f.io.run(write_and_shut(*stream, "answer\n"));
        CHECK(f.read_until(s.id, "answer\n") == "answer\n");
    }
    SUBCASE("without a handler it is closed") {
        f.io.run(f.guest.configure(setup)).value();
        CHECK(f.run("exec 3<>/dev/tcp/127.0.0.1/${HTTP_PROXY##*:}; cat <&3; echo closed").output.ends_with("closed\n"));
    }
    SUBCASE("the guest's own port is not listed, a program's is") {
        f.io.run(f.guest.configure(setup)).value();
        auto const proxy = std::stoi(f.run("echo ${http_proxy##*:}").output);
        asio::ip::tcp::acceptor acceptor(f.io.context, {asio::ip::address_v4::loopback(), 0});
        int const port = acceptor.local_endpoint().port();
        bool listed = false;
        for (auto const& p : f.io.run(f.guest.ports()).value()) {
            CHECK(p.port != proxy);
            if (p.port != port) continue;
            listed = true;
            CHECK(p.address == "127.0.0.1");
            CHECK(p.pid == ::getpid());
            CHECK(p.program == "test_guest");
        }
        CHECK(listed);
    }
    SUBCASE("a command's own ports are told apart, also when a child in another session holds them") {
        asio::ip::tcp::acceptor another(f.io.context, {asio::ip::address_v4::loopback(), 0});
        auto s = f.spec("setsid perl -MSocket -e '$| = 1; socket(S, PF_INET, SOCK_STREAM, 0);"
                        " bind(S, sockaddr_in(0, INADDR_LOOPBACK)); listen(S, 5);"
                        " print +(sockaddr_in(getsockname(S)))[0], \"\\n\"; sleep 600' & wait",
                        milliseconds(1));
        f.start(s).value();
        int const port = std::stoi(f.read_until(s.id, "\n"));
        auto const own = f.io.run(f.guest.ports(s.id)).value();
        REQUIRE(own.size() == 1);
        CHECK(own[0].port == port);
        CHECK(own[0].program == "perl");
        CHECK(f.io.run(f.guest.ports("p-none")).value().empty());
    }
    SUBCASE("no network: no proxy in the environment") {
        setup.egress.clear();
        f.io.run(f.guest.configure(setup)).value();
        CHECK(f.run("echo \"[$HTTP_PROXY$http_proxy]\"").output == "[]\n");
    }
}

TEST_CASE("streams: a program's stdin and stdout") {
    Fixture f;
    sandbox::ProcessSpec spec;
    spec.id = "server";
    spec.cwd = "/tmp";

    SUBCASE("carry many windows' worth of bytes, and its stderr is kept apart") {
        spec.command = "echo ready >&2; cat; echo done >&2";
        auto stream = f.io.run(f.guest.start_with_stdio(spec)).value();
        auto const bytes = pattern(3'000'000);
        asio::co_spawn(f.io.context, write_and_shut(*stream, bytes), asio::detached);
        CHECK(f.io.run(read_to_end(*stream)) == bytes);
        std::string log;
        for (bool running = true; running;) {
            auto const view = f.io.run(f.guest.read("server", log.size(), 1000, base::milliseconds(10'000))).value();
            log += view.output;
            running = view.running;
        }
        CHECK(log == "ready\ndone\n");
    }
    SUBCASE("end with it") {
        spec.command = "exit 3";
        auto stream = f.io.run(f.guest.start_with_stdio(spec)).value();
        CHECK(f.io.run(read_to_end(*stream)) == "");
    }
    SUBCASE("end it, when the server lets go of them") {
        spec.command = "cat";
        auto stream = f.io.run(f.guest.start_with_stdio(spec)).value();
        stream.reset();
        for (bool running = true; running;)
            running = f.io.run(f.guest.read("server", 0, 1000, base::milliseconds(10'000))).value().running;
    }
    SUBCASE("outlive a sleep's quiet, with what was written on either side of it") {
        spec.command = "read x; echo \"got $x\"; read y; echo \"got $y\"";
        auto stream = f.io.run(f.guest.start_with_stdio(spec)).value();
        CHECK_FALSE(f.io.run(f.guest.attach_stdio("server")).has_value());   // it has one
        for (std::string const word : {"one\n", "two\n"}) {
            auto const quiet = f.io.run(f.guest.quiesce()).value();
            CHECK(quiet.connections_closed == 0);
            char byte;
            CHECK_FALSE(f.io.run(stream->read_some(asio::buffer(&byte, 1))).has_value());
            stream.reset();
            f.io.run(f.guest.resume()).value();
            stream = f.io.run(f.guest.attach_stdio("server")).value();
            f.io.run(stream->write(asio::buffer(word))).value();
            std::string answer;
            while (!answer.ends_with('\n')) {
                if (f.io.run(stream->read_some(asio::buffer(&byte, 1))).value() == 0) break;
                answer += byte;
            }
            CHECK(answer == "got " + word);
        }
        CHECK(f.io.run(read_to_end(*stream)) == "");
    }
    SUBCASE("are not there for one that cannot start") {
        spec.cwd = "/no/such/directory";
        auto const stream = f.io.run(f.guest.start_with_stdio(spec));
        REQUIRE_FALSE(stream.has_value());
        CHECK(stream.error().message().find("/no/such/directory") != std::string::npos);
    }
}

TEST_CASE("streams: a command's own") {
    Fixture f;
    auto const start = [&](sandbox::ProcessSpec s) { return f.io.run(f.guest.start_with_side_stream(std::move(s))); };
    auto const wait = [&](sandbox::ProcessSpec const& s) { return f.io.run(f.guest.wait(s.id, milliseconds(20'000), 1000)).value(); };

    SUBCASE("is descriptor 3 of the command and of what it starts") {
        auto const s = f.spec("read line <&3; echo \"answer to $line\" >&3; bash -c 'echo from a child >&3'; exit 4");
        auto stream = start(s).value();
        auto write = [](base::ByteStream& to) -> base::Task<void> {
            std::string const bytes = "question\n";
            (co_await to.write(asio::buffer(bytes))).value();
        };
        f.io.run(write(*stream));
        CHECK(f.io.run(read_to_end(*stream)) == "answer to question\nfrom a child\n");
        CHECK(wait(s).exit_code == 4);
    }
    SUBCASE("leaves stdin and the environment as they are, and directories go before those of a path") {
        auto s = f.spec("cat; echo \"$PYTHONPATH $NODE_PATH\"");
        s.stdin_bytes = std::string(200'000, 'x') + "\n";
        s.env["PYTHONPATH"] = "/second";
        s.path_env = {{"PYTHONPATH", "/first"}, {"NODE_PATH", "/only"}};
        auto const stream = start(s).value();
        auto const view = wait(s);
        CHECK(view.total_bytes == 200'001 + std::string("/first:/second /only\n").size());
        CHECK(view.tail.ends_with("x\n/first:/second /only\n"));
    }
    SUBCASE("is no other command's, which cannot open it either") {
        auto const s = f.spec("sleep 60");
        auto const stream = start(s).value();
        auto const pid = std::to_string(f.io.run(f.guest.wait(s.id, milliseconds(0), 10)).value().pid);
        auto const other = f.run("echo mine >&3; echo stolen > /proc/" + pid + "/fd/3; cat < /proc/" + pid + "/fd/3").output;
        CHECK(other.find("3: Bad file descriptor") != other.npos);
        CHECK(other.find("No such device or address", other.find("No such device or address") + 1) != other.npos);
        f.io.run(f.guest.stop(s.id, SIGKILL, milliseconds(0))).value();
        CHECK(f.io.run(read_to_end(*stream)) == "");
    }
    SUBCASE("ends with the server's end of it") {
        auto const s = f.spec("cat <&3; echo over; (echo late >&3) || echo too late");
        auto stream = start(s).value();
        stream.reset();
        CHECK(wait(s).output == "over\ntoo late\n");
    }
    SUBCASE("that its command breaks off does not look like sleep") {
        auto const s = f.spec("sleep 0.2; exec 3>&-; sleep 60");
        auto const stream = start(s).value();
        auto write = [](base::ByteStream& to) -> base::Task<void> {
            std::string const bytes = "never read\n";
            (co_await to.write(asio::buffer(bytes))).value();
        };
        f.io.run(write(*stream));
        char byte;
        auto const got = f.io.run(stream->read_some(asio::buffer(&byte, 1)));
        CHECK((got ? *got == 0 : is(got.error(), base::errc::unavailable)));
    }
    SUBCASE("ends when the sandbox is to sleep, and does not come back") {
        auto const s = f.spec("cat <&3; echo over; sleep 60");
        auto const stream = start(s).value();
        CHECK(f.io.run(f.guest.quiesce()).value().connections_closed >= 1);
        char byte;
        CHECK(is(f.io.run(stream->read_some(asio::buffer(&byte, 1))).error(), base::errc::busy));
        f.io.run(f.guest.resume()).value();
        CHECK(f.read_until(s.id, "over\n") == "over\n");
        CHECK(is(f.io.run(f.guest.attach_stdio(s.id)).error(), base::errc::not_found));
    }
    SUBCASE("is not a new server's") {
        auto const s = f.spec("cat <&3; echo over; sleep 60");
        auto const stream = start(s).value();
        f.channel->attach();
        CHECK(f.read_until(s.id, "over\n") == "over\n");
    }
    SUBCASE("of a command that cannot start is none") {
        auto s = f.spec("true");
        s.cwd = "/no/such/place";
        CHECK(is(start(s).error(), base::errc::invalid));
    }
    SUBCASE("waiting for such a command has its limit") {
        auto const s = f.spec("echo begun; sleep 60");
        auto const stream = start(s).value();
        f.read_until(s.id, "begun\n");
        auto const view = f.io.run(f.guest.wait(s.id, milliseconds(10), 1000)).value();
        CHECK(view.running);
        CHECK(view.output == "begun\n");
        CHECK(is(f.io.run(f.guest.wait("p-none", milliseconds(10), 1000)).error(), base::errc::not_found));
    }
}
