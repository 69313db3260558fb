// What a client hears of a call that takes long.
#include <base/timeout.hpp>
#include <tools/ticking.hpp>
#include <tools/tools.hpp>

#include <doctest/doctest.h>

#include <testing/io.hpp>

using namespace host;
using base::milliseconds;

namespace {

struct Said {
    double progress;
    std::optional<double> total;
    std::string message;
};

class Client final : public mcp::Call {
  public:
    explicit Client(bool asks) : asks_(asks) {}
    mcp::Caller const& caller() const override { return caller_; }
    Json const& client_capabilities() const override { return nothing_; }
    bool client_has_extension(std::string_view) const override { return false; }
    bool wants_progress() const override { return asks_; }
    void progress(double progress, std::optional<double> total, std::string message) override {
        CHECK((heard.empty() || progress > heard.back().progress));  // else it would be dropped
        heard.push_back({progress, total, std::move(message)});
    }
    void log(mcp::LogLevel, std::string, Json) override {}
    Task<std::map<std::string, Json>> ask(std::vector<mcp::Question>, Json) override {
        throw mcp::RpcException({-1, "asked", nullptr});
        co_return std::map<std::string, Json>();
    }
    Json const& state() const override { return nothing_; }
    bool modern() const override { return true; }

    std::vector<Said> heard;

  private:
    bool asks_;
    mcp::Caller caller_;
    Json const nothing_;
};

Task<ToolResult> silent(milliseconds time) {
    co_await base::sleep_for(time);
    co_return ToolResult::text("done");
}

Task<ToolResult> speaks(Call& call, milliseconds after) {
    co_await base::sleep_for(after);
    for (int i = 1; i <= 4; ++i) {
        call.progress(i, 4, "step");
        co_await base::sleep_for(milliseconds(60));
    }
    co_return ToolResult::text("done");
}

Task<ToolResult> asks_something(Call& call) {
    std::vector<mcp::Question> questions(1);
    (void)co_await call.ask(std::move(questions), nullptr);
    co_return ToolResult::text("answered");
}

struct LongCall {
    testing_support::Io io;
    Client client{true};
    Ticking ticking{client};
    ToolResult run(Task<ToolResult> op) { return io.run(ticking.run(std::move(op), "copying", milliseconds(20))); }
};

}  // namespace

TEST_CASE("a call whose client wants to hear of progress") {
    LongCall w;
    SUBCASE("says how long it has taken and what is done, again and again") {
        auto const result = w.run(silent(milliseconds(130)));
        CHECK(result.content[0]["text"] == "done");
        CHECK(w.client.heard.size() >= 3);
        for (auto const& one : w.client.heard) {
            CHECK(one.message == "0 s: copying");
            CHECK_FALSE(one.total);
        }
    }
    SUBCASE("is silent after its answer") {
        w.run(silent(milliseconds(50)));
        auto const heard = w.client.heard.size();
        w.io.run(base::sleep_for(milliseconds(60)));
        CHECK(w.client.heard.size() == heard);
    }
    SUBCASE("says nothing when it is quick") {
        w.run(silent(milliseconds(0)));
        CHECK(w.client.heard.empty());
    }
    SUBCASE("leaves it to a handler that speaks itself, all of whose steps are heard") {
        w.run(speaks(w.ticking, milliseconds(50)));
        std::size_t ticks = 0, steps = 0;
        for (auto const& one : w.client.heard) {
            if (one.message == "step") {
                ++steps;
                REQUIRE(one.total);
                CHECK(*one.total - one.progress == doctest::Approx(4.0 - static_cast<double>(steps)));
            } else {
                CHECK(steps == 0);
                ++ticks;
            }
        }
        CHECK(ticks >= 1);
        CHECK(steps == 4);
    }
    SUBCASE("fails as it would without") {
        CHECK_THROWS_AS(w.run(asks_something(w.ticking)), mcp::RpcException);
        w.io.run(base::sleep_for(milliseconds(60)));
        CHECK(w.client.heard.empty());
    }
    SUBCASE("that is cancelled ends, and its ticks with it") {
        bool ended = false;
        auto const inside = [](bool* out) -> Task<ToolResult> {
            struct Ends {
                bool* flag;
                ~Ends() { *flag = true; }
            } const mark{out};
            asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::minutes(10));
            co_await timer.async_wait(asio::use_awaitable);
            co_return ToolResult::text("done");
        };
        asio::cancellation_signal stop;
        bool over = false;
        auto op = inside(&ended);
        auto running = w.ticking.run(std::move(op), "copying", milliseconds(20));
        asio::co_spawn(w.io.context, std::move(running),
                       asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr, ToolResult) { over = true; }));
        w.io.run(base::sleep_for(milliseconds(50)));
        CHECK_FALSE(over);
        stop.emit(asio::cancellation_type::terminal);
        w.io.run(base::sleep_for(milliseconds(20)));
        CHECK(ended);
        CHECK(over);
        auto const heard = w.client.heard.size();
        w.io.run(base::sleep_for(milliseconds(60)));
        CHECK(w.client.heard.size() == heard);
    }
}

TEST_CASE("every tool of berth's") {
    testing_support::Io io;
    Call* seen = nullptr;
    auto const tool = make_tool({.name = "a_tool", .title = "A tool"}, [&](Arguments, Call& call) -> Task<ToolResult> {
        seen = &call;
        throw ToolFailure("it is broken");
        co_return ToolResult::text("");
    });
    for (bool const asks : {true, false}) {
        CAPTURE(asks);
        Client client(asks);
        auto const result = io.run(tool.run(Json::object(), client));
        CHECK((seen != &client) == asks);  // ticks are for those who asked
        CHECK(result.is_error);
        CHECK(result.content[0]["text"] == "it is broken");
        auto const wrong = io.run(tool.run({{"no", "such"}}, client));
        CHECK(wrong.is_error);
    }
}
