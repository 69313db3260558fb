#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

/// A world whose one tool mirrors arguments in headers.
struct Mirrored {
    Mirrored() : server(io.context, offer(), {}) {}
    static mcp::Features offer() {
        mcp::Features out;
        out.name = "test";
        out.version = "1";
        auto mirrored = tool("mirrored", echo);
        mirrored.definition["inputSchema"]["properties"] = {
            {"text", {{"type", "string"}, {"x-mcp-header", "Text"}}},
            {"count", {{"type", "integer"}, {"x-mcp-header", "Count"}}},
            {"flag", {{"type", "boolean"}, {"x-mcp-header", "Flag"}}},
            {"inner",
             {{"type", "object"},
              {"properties", {{"deep", {{"type", "string"}, {"x-mcp-header", "Deep"}}}}}}}};
        out.tools.push_back(std::move(mirrored));
        return out;
    }
    Json ask(Json arguments, std::map<std::string, std::string> fields, int* status = nullptr) {
        auto const message = call(1, "mirrored", std::move(arguments));
        http::Request request;
        request.verb = http::Verb::post;
        request.body = base::dump(message);
        request.fields.set("Content-Type", "application/json");
        request.fields.set("MCP-Protocol-Version", "2026-07-28");
        request.fields.set("Mcp-Method", "tools/call");
        request.fields.set("Mcp-Name", "mirrored");
        for (auto const& [name, value] : fields)
            value == "-" ? (void)request.fields.erase(name) : request.fields.set(name, value);
        FakeReply reply;
        io.run(server.http_handler()(std::move(request), reply));
        if (status) *status = reply.code();
        return reply.json();
    }
    bool refused(Json arguments, std::map<std::string, std::string> fields) {
        int status = 0;
        auto const answer = ask(std::move(arguments), std::move(fields), &status);
        return status == 400 && answer["error"]["code"] == -32020 && answer["id"] == 1;
    }
    bool taken(Json arguments, std::map<std::string, std::string> fields) {
        return ask(std::move(arguments), std::move(fields)).contains("result");
    }
    testing_support::Io io;
    mcp::Server server;
};

}  // namespace

TEST_CASE("header fields that repeat the body") {
    Mirrored world;
    auto const none = Json::object();
    CHECK(world.taken(none, {}));
    CHECK(world.taken(none, {{"mcp-method", "  tools/call "}}));
    CHECK(world.refused(none, {{"MCP-Protocol-Version", "-"}}));
    CHECK(world.refused(none, {{"MCP-Protocol-Version", "2025-11-25"}}));
    CHECK(world.refused(none, {{"Mcp-Method", "-"}}));
    CHECK(world.refused(none, {{"Mcp-Method", "Tools/Call"}}));
    CHECK(world.refused(none, {{"Mcp-Name", "-"}}));
    CHECK(world.refused(none, {{"Mcp-Name", "other"}}));
    CHECK(world.refused(none, {{"Mcp-Name", "mirror\x80"}}));
    CHECK(world.taken(none, {{"Mcp-Name", "=?base64?bWlycm9yZWQ=?="}}));
    CHECK(world.refused(none, {{"Mcp-Name", "=?base64?bWlycm9yZWQ?="}}));
    CHECK(world.refused(none, {{"Mcp-Name", "=?base64?bWly!m9yZWQ=?="}}));
    CHECK(world.refused(none, {{"Mcp-Name", "=?BASE64?bWlycm9yZWQ=?="}}));
}

TEST_CASE("arguments mirrored in header fields") {
    Mirrored world;
    CHECK(world.taken({{"text", "a"}}, {{"Mcp-Param-Text", "a"}}));
    CHECK(world.taken({{"text", "\u00fc"}}, {{"Mcp-Param-Text", "=?base64?w7w=?="}}));
    CHECK(world.taken({{"text", nullptr}}, {}));
    CHECK(world.taken({{"count", 42}}, {{"Mcp-Param-Count", "42.0"}}));
    CHECK(world.taken({{"flag", true}}, {{"Mcp-Param-Flag", "true"}}));
    CHECK(world.taken({{"inner", {{"deep", "d"}}}}, {{"Mcp-Param-Deep", "d"}}));
    CHECK(world.refused({{"text", "a"}}, {}));
    CHECK(world.refused({{"text", "a"}}, {{"Mcp-Param-Text", "A"}}));
    CHECK(world.refused({{"count", 42}}, {{"Mcp-Param-Count", "43"}}));
    CHECK(world.refused({{"count", 42}}, {{"Mcp-Param-Count", "42x"}}));
    CHECK(world.refused({{"flag", true}}, {{"Mcp-Param-Flag", "True"}}));
    CHECK(world.refused({{"inner", {{"deep", "d"}}}}, {{"Mcp-Param-Deep", "e"}}));
    CHECK(world.refused(Json::object(), {{"Mcp-Param-Text", "a"}}));
}
