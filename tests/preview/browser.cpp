#include <doctest/doctest.h>

#include <sys/socket.h>

#include <browser/devtools.hpp>
#include <browser/page.hpp>
#include <browser/picture.hpp>
#include <preview/browser.hpp>
#include <testing/io.hpp>

namespace {

using base::Json;
using base::Task;
using preview::DevTools;

/// The browser's end of the wire.
struct Wire {
    explicit Wire(asio::io_context& io) : socket(io) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        socket.assign(asio::generic::stream_protocol(AF_UNIX, 0), ends[1]);
        tools = DevTools::open(io, base::UniqueFd(ends[0]));
    }
    ~Wire() { tools->close(); }
    Task<void> say(std::string bytes) {
        co_await asio::async_write(socket, asio::buffer(bytes), base::as_tuple);
    }
    /// The next command.
    Task<Json> hear() {
        while (heard.find('\0') == heard.npos) {
            char bytes[4096];
            auto [ec, n] = co_await socket.async_read_some(asio::buffer(bytes), base::as_tuple);
            REQUIRE(!ec);
            heard.append(bytes, n);
        }
        auto const end = heard.find('\0');
        auto json = Json::parse(heard.substr(0, end));
        heard.erase(0, end + 1);
        co_return json;
    }
    asio::generic::stream_protocol::socket socket;
    std::shared_ptr<DevTools> tools;
    std::string heard;
};

std::string message(Json const& json) { return json.dump() + std::string(1, '\0'); }

Task<base::Result<Json>> ask(DevTools& tools, std::string method, int limit_ms) {
    co_return co_await tools.call(std::move(method), Json::object(), base::milliseconds(limit_ms));
}

}  // namespace

TEST_CASE("DevTools over the pipe") {
    testing_support::Io io;
    Wire wire(io.context);

    SUBCASE("an answer belongs to its command, whatever comes between, in whatever pieces") {
        std::vector<std::string> events;
        wire.tools->on_event = [&](std::string const& method, Json const&) { events.push_back(method); };
        auto const got = io.run([](Wire& w) -> Task<Json> {
            auto browser = [](Wire& of) -> Task<void> {
                auto const command = co_await of.hear();
                auto const text = message({{"method", "A.b"}, {"params", Json::object()}}) +
                                  message({{"id", 77}, {"result", 1}}) +
                                  message({{"id", command["id"]}, {"result", {{"said", command["method"]}}}});
                for (char const c : text) {
                    std::string one(1, c);
                    co_await of.say(std::move(one));
                }
            };
            asio::co_spawn(w.socket.get_executor(), browser(w), asio::detached);
            auto answer = co_await ask(*w.tools, "Page.enable", 5'000);
            co_return answer.value();
        }(wire));
        CHECK(got["said"] == "Page.enable");
        CHECK(events == std::vector<std::string>{"A.b"});
    }

    SUBCASE("a refusal is an error, silence one too") {
        io.run([](Wire& w) -> Task<void> {
            auto browser = [](Wire& of) -> Task<void> {
                auto const command = co_await of.hear();
                auto const text =
                    message({{"id", command["id"]}, {"error", {{"message", "no such method"}}}});
                co_await of.say(text);
            };
            asio::co_spawn(w.socket.get_executor(), browser(w), asio::detached);
            auto refused = co_await ask(*w.tools, "No.thing", 5'000);
            CHECK(base::is(refused.error(), base::errc::invalid));
            CHECK(refused.error().context.find("no such method") != std::string::npos);
            auto silent = co_await ask(*w.tools, "Page.enable", 20);
            CHECK(base::is(silent.error(), base::errc::timed_out));
        }(wire));
    }

    SUBCASE("what is no JSON ends the wire, and whoever waits is told") {
        io.run([](Wire& w) -> Task<void> {
            auto browser = [](Wire& of) -> Task<void> {
                (void)co_await of.hear();
                std::string const text("{\"id\": 1, \"id\": 2}\0", 19);
                co_await of.say(text);
            };
            asio::co_spawn(w.socket.get_executor(), browser(w), asio::detached);
            auto answer = co_await ask(*w.tools, "Page.enable", 5'000);
            CHECK(base::is(answer.error(), base::errc::unavailable));
            CHECK(w.tools->ended());
        }(wire));
    }

    SUBCASE("a message without end is dropped, and the next one is heard") {
        io.run([](Wire& w) -> Task<void> {
            auto browser = [](Wire& of) -> Task<void> {
                auto const command = co_await of.hear();
                std::string const much(1 << 20, 'x');
                for (int i = 0; i < 9; ++i) co_await of.say(much);
                auto const text =
                    std::string(1, '\0') + message({{"id", command["id"]}, {"result", "heard"}});
                co_await of.say(text);
            };
            asio::co_spawn(w.socket.get_executor(), browser(w), asio::detached);
            auto answer = co_await ask(*w.tools, "Page.enable", 20'000);
            CHECK(answer.value() == "heard");
        }(wire));
    }
}

TEST_CASE("the size of a picture is its own word, and anything else is no picture") {
    std::string png("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\4\0\0\0\2\x80", 24);
    auto const size = preview::picture_size(png).value();
    CHECK(size.width == 1024);
    CHECK(size.height == 640);
    std::string jpeg("\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x11\x08\2\x80\4\0\3\1\1\1\1\1\1\1\1\1", 27);
    auto const other = preview::picture_size(jpeg).value();
    CHECK(other.width == 1024);
    CHECK(other.height == 640);
    CHECK(!preview::picture_size(""));
    CHECK(!preview::picture_size("<svg></svg>"));
    CHECK(!preview::picture_size(png.substr(0, 20)));
    CHECK(!preview::picture_size(std::string("\xff\xd8\xff\xe0\0\0\0\0\0\0\0", 11)));
}

TEST_CASE("without Chromium a look says what to install") {
    testing_support::Io io;
    base::BlockingPool pool(1);
    preview::Browser browser(io.context, pool, {"/nowhere", "/nowhere/berth-jail", ""});
    CHECK(!browser.there());
    auto const looked = io.run(browser.look({}));
    CHECK(base::is(looked.error(), base::errc::unavailable));
    CHECK(looked.error().context.find("install chromium") != std::string::npos);
}
