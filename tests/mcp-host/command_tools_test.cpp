// What a command may call by itself, and how it is held to that. The command is a stream here.
#include <base/timeout.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <testing/io.hpp>
#include <tools/command_tools.hpp>

using namespace host;
using base::Json;
using mcp::Task;
using mcp::ToolResult;

namespace {

/// The command's end of its stream.
struct Wire {
    explicit Wire(asio::io_context& io) : changed(io, asio::steady_timer::time_point::max()) {}
    std::string to_tools, to_command;
    bool closed = false, reads = true;
    std::optional<base::Error> broken;  // as the channel ends it
    asio::steady_timer changed;
};

class WireStream final : public base::ByteStream {
  public:
    explicit WireStream(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {}
    ~WireStream() override { close(); }
    void close() override {
        wire_->closed = true;
        wire_->changed.cancel();
    }
    Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto const w = wire_;
        while (w->to_tools.empty() && !w->closed && !w->broken) co_await w->changed.async_wait(base::as_tuple);
        if (w->broken) co_return *w->broken;
        if (w->closed) co_return base::error(base::errc::cancelled, "closed");
        auto const n = std::min(buffer.size(), w->to_tools.size());
        std::copy_n(w->to_tools.data(), n, static_cast<char*>(buffer.data()));
        w->to_tools.erase(0, n);
        co_return n;
    }
    Task<base::Status> write(asio::const_buffer buffer) override {
        auto const w = wire_;
        std::string const bytes(static_cast<char const*>(buffer.data()), buffer.size());
        while (!w->reads && !w->closed) co_await w->changed.async_wait(base::as_tuple);
        if (!w->closed) w->to_command += bytes;
        co_return base::Status();
    }
    void shutdown_write() override {}

  private:
    std::shared_ptr<Wire> wire_;
};

std::shared_ptr<mcp::Tool const> tool(std::string name, std::string toolset,
                                      std::function<Task<ToolResult>(Json, mcp::Call&)> run) {
    auto made = std::make_shared<mcp::Tool>();
    made->name = name;
    made->toolset = std::move(toolset);
    made->definition = {{"name", std::move(name)}, {"inputSchema", {{"type", "object"}}}};
    made->run = std::move(run);
    return made;
}

struct World {
    World() {
        auto echo = [](Json arguments, mcp::Call& call) -> Task<ToolResult> {
            co_return ToolResult::text(call.caller().principal, std::move(arguments));
        };
        add(tool("server__echo", "community", echo));
        add(tool("server__other", "community", echo));
        for (auto const* name : {"read_file", "workspace_create", "workspace_delete", "run_command",
                                 "call_tool", "servers_list"})
            add(tool(name, "core", echo));
        add(tool("server__fail", "community", [](Json, mcp::Call&) -> Task<ToolResult> {
            co_return ToolResult::failure("it is broken");
        }));
        add(tool("server__ask", "community", [](Json, mcp::Call& call) -> Task<ToolResult> {
            std::vector<mcp::Question> questions(1);
            questions[0] = {"q", "elicitation/create", Json::object()};
            (void)co_await call.ask(std::move(questions));
            co_return ToolResult::text("answered");
        }));
        add(tool("server__large", "community", [](Json, mcp::Call&) -> Task<ToolResult> {
            co_return ToolResult::text(std::string(100'000, 'x'));
        }));
        add(tool("server__wait", "community", [this](Json, mcp::Call&) -> Task<ToolResult> {
            struct Inside {
                World& world;
                explicit Inside(World& w) : world(w) { world.most = std::max(world.most, ++world.inside); }
                ~Inside() { --world.inside; }
            } const counted(*this);
            asio::steady_timer timer(co_await asio::this_coro::executor, base::milliseconds(wait_ms));
            co_await timer.async_wait(asio::use_awaitable);  // throws when it is cancelled
            ++finished;
            co_return ToolResult::text("waited");
        }));
    }
    ~World() {
        if (tools) tools->end();
        settle();
        CHECK(inside == 0);
    }
    void add(std::shared_ptr<mcp::Tool const> made) { there[made->name] = made; }

    Grant grant(std::set<std::string> names) {
        Grant g;
        g.caller.principal = "me";
        g.workspace = "ws-mine";
        g.command = "p-1";
        g.tools = std::move(names);
        g.find = [this](std::string const& name,
                        mcp::Caller const& caller) -> std::shared_ptr<mcp::Tool const> {
            CHECK(caller.principal == "me");
            auto const it = there.find(name);
            return it == there.end() ? nullptr : it->second;
        };
        g.audit = [this](Json line) { audit.push_back(std::move(line)); };
        return g;
    }
    std::string refused(std::set<std::string> names) {
        auto const opened = CommandTools::open(io.context.get_executor(), grant(std::move(names)));
        return opened ? "" : opened.error().message();
    }
    void serve(Grant g) {
        tools = CommandTools::open(io.context.get_executor(), std::move(g)).value();
        tools->serve(std::make_unique<WireStream>(wire));
    }
    void write(std::string const& bytes) {
        wire->to_tools += bytes;
        wire->changed.cancel();
    }
    void send(int id, std::string const& method, Json params) {
        write(
            base::dump({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", std::move(params)}}) +
            "\n");
    }
    void call(int id, std::string const& name, Json arguments = Json::object()) {
        send(id, "tools/call", {{"name", name}, {"arguments", std::move(arguments)}});
    }
    /// Runs what can run.
    void settle() { io.run(base::sleep_for(base::milliseconds(20))); }
    template <class Done>
    void until(Done done) {
        for (int i = 0; i < 3000 && !done(); ++i) io.run(base::sleep_for(base::milliseconds(1)));
        REQUIRE(done());
    }
    Json answer() {
        until([&] { return wire->to_command.find('\n') != std::string::npos; });
        auto const end = wire->to_command.find('\n');
        auto const line = wire->to_command.substr(0, end);
        wire->to_command.erase(0, end + 1);
        return base::parse_json(line).value();
    }
    std::string error() { return answer().at("error").at("message").get<std::string>(); }

    testing_support::Io io;
    std::map<std::string, std::shared_ptr<mcp::Tool const>> there;
    std::shared_ptr<Wire> wire = std::make_shared<Wire>(io.context);
    std::shared_ptr<CommandTools> tools;
    std::vector<Json> audit;
    int inside = 0, most = 0, finished = 0, wait_ms = 5;
};

}  // namespace

TEST_CASE("tools of a command: what may be given") {
    World w;
    CHECK(w.refused({"server__echo", "read_file"}) == "");
    CHECK(w.refused({"server__none"}).find("there is no tool server__none that you may use") !=
          std::string::npos);
    for (auto const* beyond :
         {"workspace_create", "workspace_delete", "run_command", "call_tool", "servers_list"})
        CHECK(w.refused({beyond}).find("cannot be called by a command") != std::string::npos);
    std::set<std::string> many;
    for (int i = 0; i < 65; ++i) many.insert("server__" + std::to_string(i));
    CHECK(w.refused(many).find("at most 64") != std::string::npos);
}

TEST_CASE("tools of a command: a call") {
    World w;
    w.serve(w.grant({"server__echo", "server__fail", "server__ask", "server__large", "read_file"}));

    SUBCASE("is its caller's, answered under its id, and stands in the audit trail without its arguments") {
        w.call(7, "server__echo", {{"text", "a secret"}});
        auto const got = w.answer();
        CHECK(got["id"] == 7);
        CHECK(got["result"]["structuredContent"]["text"] == "a secret");
        CHECK(got["result"]["content"][0]["text"] == "me");
        REQUIRE(w.audit.size() == 1);
        CHECK(w.audit[0]["tool"] == "server__echo");
        CHECK(w.audit[0]["command"] == "p-1");
        CHECK(w.audit[0]["who"] == "me");
        CHECK(base::dump(w.audit[0]).find("a secret") == std::string::npos);
        CHECK(w.tools->summary() == "1 tool call");
    }
    SUBCASE("of one that was not given is refused, and recorded") {
        w.call(1, "server__other");
        CHECK(w.error().find("server__other is not among the tools") != std::string::npos);
        CHECK(w.audit.at(0)["refused"] == true);
        CHECK(w.tools->summary() == "1 tool call, 1 failed");
    }
    SUBCASE("of one that the caller may no longer use is refused") {
        w.there.erase("server__echo");
        w.call(1, "server__echo");
        CHECK(w.error() == "server__echo is no longer there");
    }
    SUBCASE("of berth's own works on the command's workspace, and on no other") {
        w.call(1, "read_file", {{"path", "a"}});
        CHECK(w.answer()["result"]["structuredContent"]["workspace_id"] == "ws-mine");
        for (auto const& other : {Json("ws-other"), Json(nullptr), Json::array({"ws-mine"})}) {
            w.call(2, "read_file", {{"path", "a"}, {"workspace_id", other}});
            CHECK(w.error().find("works on this workspace alone") != std::string::npos);
        }
        w.call(3, "read_file", {{"workspace_id", "ws-mine"}});
        CHECK(w.answer().contains("result"));
    }
    SUBCASE("that fails says so as the tool does") {
        w.call(1, "server__fail");
        auto const got = w.answer();
        CHECK(got["result"]["isError"] == true);
        CHECK(got["result"]["content"][0]["text"] == "it is broken");
        CHECK(w.audit.at(0)["failed"] == true);
    }
    SUBCASE("that asks somebody something is refused that") {
        w.call(1, "server__ask");
        CHECK(w.error().find("elicitation/create is refused") != std::string::npos);
    }
    SUBCASE("with a wrong shape is an error, and the next one works") {
        w.send(1, "tools/call", {{"name", 5}});
        CHECK(w.error().find("is not among the tools") != std::string::npos);
        w.send(2, "tools/call", {{"name", "server__echo"}, {"arguments", 5}});
        CHECK(w.error() == "arguments is an object");
        w.send(3, "resources/read", {{"uri", "berth://workspaces/ws-mine"}});
        CHECK(w.error() == "a command can use tools/list and tools/call alone");
        w.call(4, "server__echo");
        CHECK(w.answer().contains("result"));
    }
    SUBCASE("of tools/list shows what was given") {
        w.send(1, "tools/list", Json::object());
        std::vector<std::string> names;
        auto const got = w.answer();
        for (auto const& one : got["result"]["tools"]) names.push_back(one["name"]);
        CHECK(names == std::vector<std::string>{"read_file", "server__ask", "server__echo", "server__fail",
                                                "server__large"});
    }
}

TEST_CASE("tools of a command: their stream breaks off") {
    World w;
    w.wait_ms = 60'000;
    w.serve(w.grant({"server__wait"}));
    w.call(1, "server__wait");
    w.until([&] { return w.inside == 1; });
    auto const breaks = [&](base::errc code) {
        w.wire->broken = base::error(code, "the sandbox is put to sleep");
        w.wire->changed.cancel();
        w.settle();
    };

    SUBCASE("when the workspace sleeps, is kept or copied: the summary says so, and what was under way ends") {
        breaks(base::errc::busy);
        CHECK(w.inside == 0);
        CHECK(w.tools->summary() == "1 tool call, 1 failed; its tools ended early: the workspace was put to sleep or copied");
    }
    SUBCASE("when the command lets go of it: that is no early end") {
        breaks(base::errc::unavailable);
        CHECK(w.tools->summary() == "1 tool call");
    }
}

TEST_CASE("tools of a command: a queue for the one browser") {
    World w;
    w.wait_ms = 20;
    w.add(tool("preview_check", "preview", w.there.at("server__wait")->run));
    w.serve(w.grant({"preview_check", "server__wait"}));

    SUBCASE("has one place for a command: its checks come one after the other, and other calls do not wait for them") {
        for (int i = 0; i < 5; ++i) w.call(i, "preview_check");
        std::set<int> ids;
        while (ids.size() < 5) ids.insert(w.answer()["id"].get<int>());
        CHECK(w.most == 1);
        CHECK(w.finished == 5);
        w.call(5, "preview_check");
        w.call(6, "server__wait");
        w.answer();
        w.answer();
        CHECK(w.most == 2);
    }
    SUBCASE("gives the place back with a check that is cancelled, and none to those that waited for it") {
        w.wait_ms = 60'000;
        for (int i = 0; i < 3; ++i) w.call(i, "preview_check");
        w.until([&] { return w.inside == 1; });
        w.tools->end();
        w.settle();
        CHECK(w.inside == 0);
        CHECK(w.most == 1);
        CHECK(w.audit.size() == 3);
    }
}

TEST_CASE("tools of a command: floods") {
    World w;
    auto g = w.grant({"server__wait", "server__large", "server__echo"});
    auto const ended = [&](std::string const& why) {
        w.until([&] { return w.wire->closed; });
        CHECK(w.tools->summary().find("ended early: " + why) != std::string::npos);
    };

    SUBCASE("so many calls at once, and no more are read before one has ended") {
        g.limits.at_once = 3;
        w.serve(std::move(g));
        for (int i = 0; i < 30; ++i) w.call(i, "server__wait");
        std::set<int> ids;
        while (ids.size() < 30) ids.insert(w.answer()["id"].get<int>());
        CHECK(w.most == 3);
    }
    SUBCASE("a command that does not read its answers has no more calls under way, and ends all the same") {
        g.limits.at_once = 3;
        w.wire->reads = false;
        w.serve(std::move(g));
        for (int i = 0; i < 30; ++i) w.call(i, "server__wait");
        w.until([&] { return w.finished == 3; });
        w.settle();
        CHECK(w.finished == 3);
        w.tools->end();
        w.settle();
        CHECK(w.finished == 3);
        CHECK(w.wire->to_command.empty());
    }
    SUBCASE("so many requests") {
        g.limits.calls = 50;
        w.serve(std::move(g));
        for (int i = 0; i < 60; ++i) w.call(i, "server__echo");
        ended("it made more than 50 requests");
        CHECK(w.tools->calls() <= 50);
    }
    SUBCASE("a line without an end") {
        w.serve(std::move(g));
        w.write(std::string((1 << 20) + 1, 'x'));
        ended("a request was longer than 1048576 bytes");
    }
    SUBCASE("bytes, of requests and of answers") {
        g.limits.bytes = 250'000;
        w.serve(std::move(g));
        for (int i = 0; i < 4; ++i) w.call(i, "server__large");
        ended("more than 250000 bytes crossed");
    }
    SUBCASE("an answer that is too large is an error alone") {
        g.limits.answer_bytes = 50'000;
        w.serve(std::move(g));
        w.call(1, "server__large");
        CHECK(w.error().find("ask for less at once") != std::string::npos);
        w.call(2, "server__echo");
        CHECK(w.answer()["id"] == 2);
    }
    SUBCASE("what is no request") {
        for (std::string const line :
             {"no JSON", "[]", "{}", R"({"jsonrpc":"2.0","method":"tools/list","params":{}})",
              R"({"jsonrpc":"2.0","id":{},"method":"tools/list","params":{}})",
              R"({"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list","params":{}})",
              R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})"}) {
            CAPTURE(line);
            w.wire = std::make_shared<Wire>(w.io.context);
            w.serve(w.grant({"server__echo"}));
            w.write(line + "\n");
            ended("what it wrote to its tools was no request");
        }
    }
}

TEST_CASE("tools of a command: their end") {
    World w;
    w.wait_ms = 60'000;
    w.serve(w.grant({"server__wait"}));
    w.call(1, "server__wait");
    w.until([&] { return w.inside == 1; });
    w.tools->end();
    w.tools->end();

    SUBCASE("cancels what is under way and closes the stream") {
        w.until([&] { return w.inside == 0; });
        CHECK(w.finished == 0);
        CHECK(w.wire->closed);
        CHECK(w.wire->to_command.empty());
        CHECK(w.audit.at(0)["failed"] == true);
    }
    SUBCASE("leaves nothing for what was written meanwhile") {
        w.call(2, "server__wait");
        w.settle();
        CHECK(w.inside == 0);
        CHECK(w.tools->calls() == 1);
    }
}
