#include "mcp_fixture.hpp"

using namespace mcp_test;

namespace {

struct Bad {
    char const* what;
    std::string text;
    int code;
    Json id;  // what the answer echoes; null = none
};

std::vector<Bad> table() {
    std::string const deep = std::string(100, '[') + std::string(100, ']');
    return {
        {"not JSON", "{", -32700, nullptr},
        {"a word", "hello", -32700, nullptr},
        {"trailing bytes", R"({"jsonrpc":"2.0","id":1,"method":"ping"} x)", -32700, nullptr},
        {"two values", R"({"jsonrpc":"2.0","id":1,"method":"ping"}{})", -32700, nullptr},
        {"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700, nullptr},
        {"a duplicate key", R"({"jsonrpc":"2.0","id":1,"id":2,"method":"ping"})", -32700, nullptr},
        {"a duplicate key inside", R"({"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":2}})",
         -32700, nullptr},
        {"nesting beyond the limit",
         R"({"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":)" + deep + "}}", -32600, nullptr},
        {"a batch", R"([{"jsonrpc":"2.0","id":1,"method":"ping"}])", -32600, nullptr},
        {"an empty batch", "[]", -32600, nullptr},
        {"a number", "7", -32600, nullptr},
        {"null", "null", -32600, nullptr},
        {"no version", R"({"id":1,"method":"ping"})", -32600, 1},
        {"another version", R"({"jsonrpc":"1.0","id":1,"method":"ping"})", -32600, 1},
        {"a key in other case", R"({"JSONRPC":"2.0","id":1,"method":"ping"})", -32600, 1},
        {"no method", R"({"jsonrpc":"2.0","id":"x"})", -32600, "x"},
        {"a method that is no string", R"({"jsonrpc":"2.0","id":1,"method":5})", -32600, 1},
        {"an empty method", R"({"jsonrpc":"2.0","id":1,"method":""})", -32600, 1},
        {"a null id", R"({"jsonrpc":"2.0","id":null,"method":"ping"})", -32600, nullptr},
        {"an id with a fraction", R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})", -32600, nullptr},
        {"an object as id", R"({"jsonrpc":"2.0","id":{},"method":"ping"})", -32600, nullptr},
        {"a method and a result", R"({"jsonrpc":"2.0","id":1,"method":"ping","result":{}})", -32600, 1},
        {"a result and an error", R"({"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}})",
         -32600, nullptr},
        {"a result that is no object", R"({"jsonrpc":"2.0","id":1,"result":5})", -32600, 1},
        {"params as an array", R"({"jsonrpc":"2.0","id":1,"method":"ping","params":[1]})", -32602, 1},
        {"_meta that is no object", R"({"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}})",
         -32602, 1},
    };
}

void check_error(Json const& answer, Bad const& bad) {
    CHECK(answer["error"]["code"] == bad.code);
    CHECK(answer.value("id", Json(nullptr)) == bad.id);
}

}  // namespace

TEST_CASE("malformed messages on stdio") {
    World world;
    Pipe pipe(world);
    for (auto const& bad : table()) {
        CAPTURE(bad.what);
        pipe.send_line(bad.text);
        check_error(pipe.next(), bad);
        CHECK(text_of(pipe.ask(call(9, "echo", {{"text", "good"}}))) == "local:good");
    }
    SUBCASE("a line over the limit is refused once and the next one works") {
        mcp::ServerOptions options;
        options.max_message_bytes = 1000;
        World small(options);
        Pipe narrow(small);
        narrow.send_line(std::string(100'000, 'x'));
        CHECK(narrow.next()["error"]["code"] == -32600);
        CHECK(text_of(narrow.ask(call(1, "echo", {{"text", "good"}}))) == "local:good");
    }
    SUBCASE("blank lines are no messages, and a last line needs no end") {
        pipe.send_line("");
        pipe.send_line(" \r");
        asio::write(pipe.client, asio::buffer(base::dump(call(1, "echo"))));
        pipe.client.shutdown(asio::socket_base::shutdown_send);
        CHECK(text_of(pipe.next()) == "local:");
    }
}

TEST_CASE("malformed messages over HTTP") {
    World world;
    for (auto const& bad : table()) {
        CAPTURE(bad.what);
        auto request = world.http_request(nullptr);
        request.body = bad.text;
        auto const reply = world.ask(std::move(request));
        CHECK(reply.code() == 400);
        check_error(reply.json(), bad);
        auto const good = world.ask(world.modern_request(call(9, "echo", {{"text", "good"}})));
        CHECK(good.code() == 200);
        CHECK(text_of(good.json()) == "alice:good");
    }
}

TEST_CASE("malformed requests of good form") {
    World world;
    Pipe pipe(world);
    CHECK(pipe.ask(call(1, "no such tool"))["error"]["code"] == -32602);
    CHECK(pipe.ask(call(1, "rare"))["error"]["code"] ==
          -32602);  // outside the caller's toolsets: as if it did not exist
    CHECK(pipe.ask(modern(1, "tools/call", {{"name", 5}}))["error"]["code"] == -32602);
    CHECK(pipe.ask(modern(1, "tools/call",
                          {{"name", "echo"}, {"arguments", Json::array()}}))["error"]["code"] == -32602);
    CHECK(pipe.ask(modern(1, "tools/list", {{"cursor", "x"}}))["error"]["code"] == -32602);
    CHECK(pipe.ask(modern(1, "unknown/method"))["error"]["code"] == -32601);
    CHECK(pipe.ask(modern(1, "prompts/list"))["error"]["code"] == -32601);  // not offered
}
