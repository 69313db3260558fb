#include <tool_help.hpp>

#include <doctest/doctest.h>

using base::Json;

namespace {

Json const kTool = Json::parse(R"({
    "name": "workspace_create", "description": "Make a workspace. The same name gives the same one again.",
    "inputSchema": {"type": "object", "required": ["name", "count", "mode"], "properties": {
        "name": {"type": "string", "description": "Finds it\nagain"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "files": {"type": "array", "items": {"type": "string"}},
        "keep": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 2, "maximum": 16},
        "mode": {"enum": ["fast", "slow"]},
        "limits": {"type": "object", "properties": {"cpus": {"type": "number", "minimum": 0.1}}}}}})");

bool has(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the list of tools") {
    SUBCASE("has a line for each, with its first sentence") {
        CHECK(host::tool_lines({kTool, {{"name", "a"}, {"description", "Short."}}}) ==
              "workspace_create  Make a workspace\na                 Short\n");
    }
    SUBCASE("is plain and whole whatever a server calls its tools") {
        CHECK(host::tool_lines({{{"name", "x\x1b[2J"}, {"description", "one\ntwo"}}}) == "x?[2J  one two\n");
        CHECK(host::tool_lines({Json(5), Json::object(), {{"name", 5}, {"description", Json::array()}}}) == "  \n  \n  \n");
        CHECK(host::tool_lines({{{"name", "x"}, {"description", std::string(500, 'y')}}}).size() < 140);
    }
}

TEST_CASE("what a tool takes") {
    auto const help = host::tool_help(kTool);
    SUBCASE("begins with what it is for") {
        CHECK(help.starts_with("workspace_create\n\nMake a workspace. The same name gives the same one again.\n\n"));
    }
    SUBCASE("is a line for each argument, those that must be given first") {
        CHECK(has(help, "  name         string, required                Finds it again\n"));
        CHECK(has(help, "  count        integer from 2 to 16, required\n"));
        CHECK(has(help, "  mode         fast | slow, required\n"));
        CHECK(has(help, "  env          object of strings\n"));
        CHECK(has(help, "  files        list of strings\n"));
        CHECK(has(help, "  keep         true | false\n"));
        CHECK(help.find("  mode ") < help.find("  env "));
    }
    SUBCASE("names what stands inside an object by its way there") {
        CHECK(has(help, "  limits       object\n  limits.cpus  number from 0.1\n"));
    }
    SUBCASE("ends with a call that holds what must be given") {
        CHECK(help.ends_with("\n  berth tool workspace_create '{\"count\":2,\"mode\":\"fast\",\"name\":\"...\"}'\n"));
    }
    SUBCASE("may be nothing") {
        CHECK(host::tool_help({{"name", "ping"}, {"description", "Answers."}}) ==
              "ping\n\nAnswers.\n\nIt takes no arguments.\n\n  berth tool ping\n");
    }
    SUBCASE("is plain, bounded and no failure for schemas that nobody could have meant") {
        for (auto const* schema :
             {R"(5)", R"({"properties": 5})", R"({"properties": {"a": 5}, "required": 5})", R"({"properties": {"a": {"type": 5, "enum": []}}})",
              R"({"properties": {"a": {"type": ["string", null]}}, "required": ["a", 5]})", R"({"properties": {"a": {"minimum": "x"}}})",
              R"({"properties": {"a": {"properties": {"a": {"properties": {"a": {"properties": {"a": {"properties": {"a": {}}}}}}}}}}})"})
            CHECK_NOTHROW(host::tool_help({{"name", "x"}, {"inputSchema", Json::parse(schema)}}));
        Json many = Json::object();
        for (int i = 0; i < 10'000; ++i) many["a" + std::to_string(i)] = Json::object();
        CHECK(host::tool_help({{"name", "x"}, {"inputSchema", {{"properties", many}}}}).size() < 10'000);
        CHECK_FALSE(has(host::tool_help({{"name", "x\x1b[0m"}, {"description", "\x1b]0;y\a"}}), "\x1b"));
    }
}
