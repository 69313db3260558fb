#include "guest_fixture.hpp"

#include <sandbox/protocol.hpp>

#include <doctest/doctest.h>

using namespace guest_test;
namespace protocol = sandbox::protocol;

TEST_CASE("channel: a new server attaches") {
    Fixture f;
    f.run("mkfifo go");
    auto s = f.spec("echo before; read x < go; seq 200000; echo after", milliseconds(1));
    f.start(s).value();
    CHECK(f.read_until(s.id, "before\n") == "before\n");

    // The old server dies with answers on their way that it never read.
    for (int i = 0; i < 50; ++i) {
        auto reading = [](std::shared_ptr<sandbox::Channel> channel, std::string id) -> base::Task<void> {
            base::Json request{{"op", "read"}, {"id", id}, {"offset", 7}, {"max", 1 << 20}, {"wait_ms", 60'000}};
            co_await channel->call(std::move(request), {}, milliseconds(60'000));
        };
        asio::co_spawn(f.io.context, reading(f.channel, s.id), asio::detached);
    }
    f.io.context.poll();
    f.channel->close("the server dies");
    f.io.context.poll();

    auto const channel = open_channel(f.io, f.directory.path);
    sandbox::Guest guest(channel);
    sandbox::ProcessSpec go;
    go.id = "go";
    go.command = "echo > go";
    go.cwd = f.directory.path;
    go.wait = milliseconds(20'000);
    CHECK(f.io.run(guest.start(go)).value().exit_code == 0);
    std::string all;
    std::uint64_t offset = 7;
    for (;;) {
        auto v = f.io.run(guest.read(s.id, offset, 100'000, milliseconds(20'000))).value();
        CHECK(v.offset == offset);
        all += v.output;
        offset += v.output.size();
        if (!v.running && v.output.empty()) break;
    }
    CHECK(all.size() == 1288895 + 6);
    CHECK(all.starts_with("1\n2\n"));
    CHECK(all.ends_with("200000\nafter\n"));

    // The same Channel may start over, too.
    channel->attach();
    CHECK(f.io.run(guest.ping()).has_value());
}

TEST_CASE("channel: a large request left half sent is forgotten") {
    Fixture f;
    f.io.run(f.guest.ping()).value();
    auto const in = base::sys::open(f.directory.path + "/in", O_RDWR).value();
    auto const part = protocol::make_frame(protocol::Kind::request, 1, std::string(2000, 'x'), true);
    base::sys::write_all(in.get(), part, "the FIFO").value();
    f.channel->close("the server dies");
    auto const channel = open_channel(f.io, f.directory.path);
    sandbox::Guest guest(channel);
    f.io.run(guest.ping()).value();          // request 1 of the new server
    CHECK(channel->usable());
}

TEST_CASE("channel: every call ends") {
    Fixture f;

    SUBCASE("with the channel") {
        auto s = f.spec("sleep 1000");
        bool done = false;
        auto call = [](sandbox::Guest& guest, sandbox::ProcessSpec spec, bool& ended) -> base::Task<void> {
            auto v = co_await guest.start(spec);
            ended = v.has_error() && is(v.error(), base::errc::unavailable) && v.error().context == "it was stopped";
        };
        asio::co_spawn(f.io.context, call(f.guest, s, done), asio::detached);
        f.io.run(f.guest.ping()).value();
        f.channel->close("it was stopped");
        f.io.context.poll();
        CHECK(done);
        CHECK(is(f.io.run(f.guest.ping()).error(), base::errc::unavailable));
    }
    SUBCASE("when the guest does not answer") {
        ::kill(f.process.pid, SIGSTOP);
        auto const reply = f.io.run(f.channel->call(base::Json{{"op", "ping"}}, {}, milliseconds(20)));
        REQUIRE(reply.has_error());
        CHECK(is(reply.error(), base::errc::timed_out));
        ::kill(f.process.pid, SIGCONT);
        f.io.run(f.guest.ping()).value();    // the late answer is nobody's
    }
    SUBCASE("when its caller goes away, and the process lives on") {
        auto s = f.spec("sleep 1000");
        asio::cancellation_signal cancel;
        bool done = false;
        auto call = [](sandbox::Guest& guest, sandbox::ProcessSpec spec) -> base::Task<bool> {
            auto v = co_await guest.start(spec);
            co_return v.has_error();
        };
        asio::co_spawn(f.io.context, call(f.guest, s),
                       asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, bool) { done = true; }));
        f.io.run(f.guest.ping()).value();
        cancel.emit(asio::cancellation_type::terminal);
        f.io.context.restart();
        f.io.context.poll();
        CHECK(done);
        CHECK(f.io.run(f.guest.read(s.id, 0, 1, milliseconds(0))).value().running);
    }
}

namespace {

/// FIFOs whose inner end is the test: it answers the attach and then says what it likes.
struct HostileGuest {
    Io io;
    TemporaryDirectory directory;
    base::UniqueFd in, out;
    std::shared_ptr<sandbox::Channel> channel;
    std::string failure;

    HostileGuest() {
        base::sys::mkfifo(directory.path + "/in", 0600).value();
        base::sys::mkfifo(directory.path + "/out", 0600).value();
        in = base::sys::open(directory.path + "/in", O_RDWR | O_NONBLOCK).value();
        out = base::sys::open(directory.path + "/out", O_RDWR | O_NONBLOCK).value();
        channel = open_channel(io, directory.path);
        channel->on_failed([this](std::string why) { failure = std::move(why); });
        char frame[100];
        ssize_t const n = ::read(in.get(), frame, sizeof frame);
        REQUIRE(n == 26);
        say("left over from an old server " + std::string(protocol::kSyncMagic) + "not the nonce at all");
        say(std::string(protocol::kSyncMagic) + std::string(frame + 10, 16));
    }
    void say(std::string const& bytes) { base::sys::write_all(out.get(), bytes, "the FIFO").value(); }
    /// What a call ends with after the guest said `bytes`.
    base::Error call_and_say(std::string const& bytes) {
        say(bytes);
        auto reply = io.run(channel->call(base::Json{{"op", "ping"}}, {}, milliseconds(20'000)));
        io.context.restart();
        io.context.poll();
        return reply.error();
    }
};

std::string reply(std::string const& json, std::uint32_t id = 1) {
    std::string out;
    protocol::frame_message(protocol::Kind::reply, id, json, {}, protocol::kMaxFromGuest,
                            [&](std::string frame) { out += frame; });
    return out;
}

}  // namespace

TEST_CASE("channel: a hostile guest fails its own channel, with a reason") {
    HostileGuest g;

    SUBCASE("a length beyond the limit") { g.call_and_say(std::string("\xff\xff\xff\x7f\x03\x00\x01\x00\x00\x00", 10)); }
    SUBCASE("an unknown kind") { g.call_and_say(std::string("\x00\x00\x00\x00\x63\x00\x01\x00\x00\x00", 10)); }
    SUBCASE("an unknown flag") { g.call_and_say(std::string("\x00\x00\x00\x00\x03\x80\x01\x00\x00\x00", 10)); }
    SUBCASE("a server's frame") { g.call_and_say(protocol::make_frame(protocol::Kind::request, 1, "x")); }
    SUBCASE("a JSON length beyond the message") {
        g.call_and_say(protocol::make_frame(protocol::Kind::reply, 1, std::string("\xff\x00\x00\x00{}", 6)));
    }
    SUBCASE("no JSON") { g.call_and_say(reply("{]")); }
    SUBCASE("no object") { g.call_and_say(reply("[1]")); }
    SUBCASE("JSON too deep") { g.call_and_say(reply("{\"a\":" + std::string(50, '[') + std::string(50, ']') + "}")); }
    SUBCASE("an id of ours for a stream") { g.call_and_say(protocol::make_frame(protocol::Kind::open, 7, {})); }
    SUBCASE("more than a stream's window") {
        std::unique_ptr<base::ByteStream> stream;
        g.channel->on_stream([&](std::unique_ptr<base::ByteStream> s) { stream = std::move(s); });
        auto const id = protocol::kGuestStreamBit | 5;
        g.say(protocol::make_frame(protocol::Kind::open, id, {}));
        std::string const part(protocol::kWindow / 8, 'x');
        for (int i = 0; i < 8; ++i) {
            g.say(protocol::make_frame(protocol::Kind::data, id, part));
            g.io.context.restart();
            g.io.context.poll();
            REQUIRE(g.channel->usable());
        }
        g.call_and_say(protocol::make_frame(protocol::Kind::data, id, "x"));
    }
    CHECK_FALSE(g.channel->usable());
    CHECK_FALSE(g.failure.empty());
    CHECK(g.failure == g.channel->reason());
}

TEST_CASE("channel: what a hostile guest may say without harm") {
    HostileGuest g;
    std::string bytes = reply("{}", 99);                                        // nobody asked
    bytes += protocol::make_frame(protocol::Kind::data, 12345, "nobody's");
    bytes += protocol::make_frame(protocol::Kind::open, protocol::kGuestStreamBit | 1, {});   // no handler: closed
    bytes += reply(R"({"error":7,"message":["x"]})");
    auto const error = g.call_and_say(bytes);
    CHECK(is(error, base::errc::unavailable));
    CHECK(g.channel->usable());

    g.say(reply(R"({"running":"yes","pid":1e99,"total":-5,"output_bytes":99999999,"id":[],"exit_code":{}})", 2));
    sandbox::Guest guest(g.channel);
    auto const view = g.io.run(guest.read("p", 0, 10, milliseconds(0))).value();
    CHECK(view.id == "p");
    CHECK_FALSE(view.running);
    CHECK(view.total_bytes == 0);
}

TEST_CASE("protocol: frames") {
    protocol::Frame frame;
    auto const bytes = protocol::make_frame(protocol::Kind::reply, 0xdeadbeef, "payload", true);
    for (std::size_t n = 0; n < bytes.size(); ++n)
        CHECK(protocol::parse_frame(std::string_view(bytes).substr(0, n), 4096, frame) == protocol::Parsed::incomplete);
    auto const more = bytes + "next";
    CHECK(protocol::parse_frame(more, 4096, frame) == protocol::Parsed::frame);
    CHECK(frame.id == 0xdeadbeef);
    CHECK(frame.more);
    CHECK(frame.payload == "payload");
    CHECK(frame.size == bytes.size());
    CHECK(protocol::parse_frame(bytes, 16, frame) == protocol::Parsed::invalid);
}
