#include "log_buffer.hpp"
#include "offer.hpp"
#include "redact.hpp"
#include "tool_search.hpp"

#include <doctest/doctest.h>

using base::Json;

namespace {

config::ServerEntry server(std::string name) {
    config::ServerEntry entry;
    entry.name = std::move(name);
    return entry;
}

Json tool(std::string const& name) {
    return {{"name", name}, {"description", "About " + name}, {"inputSchema", {{"type", "object"}, {"$defs", {{"x", 1}}}}},
            {"_meta", {{"a", 1}}}, {"execution", {{"taskSupport", "required"}}}};
}

}  // namespace

TEST_CASE("tools as clients see them") {
    auto entry = server("db");
    SUBCASE("keep schema and _meta as they are, and lose how the server runs them") {
        auto const shown = servers::shown_tools(entry, {tool("query")}, 40);
        REQUIRE(shown.size() == 1);
        CHECK(shown[0].public_name == "db__query");
        CHECK(shown[0].definition["inputSchema"] == tool("query")["inputSchema"]);
        CHECK(shown[0].definition["_meta"] == Json{{"a", 1}});
        CHECK(shown[0].needs_task);
        CHECK_FALSE(shown[0].definition.contains("execution"));
    }
    SUBCASE("are those that the operator chose, under the names that he gave") {
        entry.tools.allow = std::vector<std::string>{"q*", "list"};
        entry.tools.deny = {"quit"};
        entry.tools.rename["query"] = "ask";
        entry.tools.describe["list"] = "Lists.";
        auto const shown = servers::shown_tools(entry, {tool("query"), tool("quit"), tool("list"), tool("drop")}, 40);
        REQUIRE(shown.size() == 2);
        CHECK(shown[0].public_name == "db__ask");
        CHECK(shown[0].name == "query");
        CHECK(shown[1].definition["description"] == "Lists.");
    }
    SUBCASE("are none when the list of those allowed is there and empty") {
        CHECK(servers::shown_tools(entry, {tool("query")}, 40).size() == 1);
        entry.tools.allow.emplace();
        CHECK(servers::shown_tools(entry, {tool("query")}, 40).empty());
    }
    SUBCASE("link to their own views") {
        auto view = tool("show");
        view["_meta"]["ui"]["resourceUri"] = "ui://view/main";
        auto const shown = servers::shown_tools(entry, {view}, 40);
        auto const uri = shown[0].definition["_meta"]["ui"]["resourceUri"].get<std::string>();
        CHECK(uri == "ui://db/view/main");
        CHECK(servers::upstream_uri("db", uri) == "ui://view/main");
        CHECK(servers::public_uri("db", "file:///a") == "file:///a");
    }
    SUBCASE("outlive a restart") {
        servers::Offer offer;
        offer.tools = {tool("a")};
        offer.instructions = "Use it.";
        auto const again = servers::offer_from(servers::to_json(offer));
        CHECK(again.tools == offer.tools);
        CHECK(again.instructions == "Use it.");
        CHECK(servers::offer_from(Json(3)).tools.empty());
    }
}

TEST_CASE("searching tools") {
    servers::ToolSearch search;
    search.fill({{"github__list_pull_requests", "github", "List pull requests in a repository", "owner repo state"},
                 {"fs__readTextFile", "filesystem", "Complete contents of a file", "path head tail"},
                 {"git__status", "git", "Shows the working tree", "path"}});
    SUBCASE("finds by what they do, in other forms of the word, and by parts of names") {
        CHECK(search.find("open a pull request", 3).at(0) == "github__list_pull_requests");
        CHECK(search.find("reading files", 3).at(0) == "fs__readTextFile");
        CHECK(search.find("working trees", 1) == std::vector<std::string>{"git__status"});
    }
    SUBCASE("takes nothing of a query as a command") {
        for (auto const* query : {"\"", "a\" OR *", "NEAR(", "name:x AND", "", "*", "-", "\xFF\xFE"}) search.find(query, 5);
        CHECK(search.find("", 5).empty());
        CHECK(search.find("nothingofthekind", 5).empty());
    }
    SUBCASE("forgets what is gone") {
        search.fill({});
        CHECK(search.find("pull", 5).empty());
    }
}

TEST_CASE("the log of a server") {
    servers::LogBuffer log;
    SUBCASE("gives its last lines, whole and without what cannot be seen") {
        log.append("one\ntw");
        log.append("o\x1b[31m\nthree");
        CHECK(log.tail(2) == std::vector<std::string>{"one", "two[31m", "three"});
        log.note("stopped");
        CHECK(log.tail(1) == std::vector<std::string>{"[berth] stopped"});
    }
    SUBCASE("is bounded, whatever comes") {
        log.append(std::string(1 << 20, 'x'));
        CHECK(log.tail(1).at(0).size() == 8 * 1024);
        for (int i = 0; i < 10'000; ++i) log.append("line " + std::to_string(i) + " of many that a server writes\n");
        std::size_t bytes = 0;
        for (auto const& line : log.tail(100'000)) bytes += line.size();
        CHECK(bytes <= 256 * 1024);
    }
}

TEST_CASE("a server that gets types wrong stops nobody else") {
    auto const wrong = Json::parse(R"({"tools": [{"name": 1}, {"name": "a", "description": [], "execution": 7}, 5],
        "prompts": [{"name": {}}], "resources": [{"uri": 3, "name": "x"}, {"uri": "file:///a", "name": "a", "mimeType": 1}],
        "templates": [{"uriTemplate": null}], "name": 4, "version": {}, "instructions": [], "invisible": "x"})");
    auto const offer = servers::offer_from(wrong);
    REQUIRE(offer.tools.size() == 1);
    CHECK(offer.tools[0] == Json{{"name", "a"}});
    CHECK(offer.prompts.empty());
    REQUIRE(offer.resources.size() == 1);
    CHECK_FALSE(offer.resources[0].contains("mimeType"));
    CHECK(offer.templates.empty());
    CHECK(servers::shown_tools(server("db"), {Json{{"name", 5}}, Json{{"name", "a"}, {"description", 1}}}, 40).size() == 1);
}

TEST_CASE("no server offers what is berth's own") {
    CHECK(servers::is_own_uri("berth://workspaces"));
    CHECK(servers::is_own_uri("BeRTH://workspaces"));
    CHECK_FALSE(servers::is_own_uri("file:///berth"));
}

TEST_CASE("redaction") {
    auto entry = server("db");
    entry.env["EMPTY"] = {base::Secret(""), true};
    entry.env["KEY"] = {base::Secret("hunter2hunter2"), true};
    servers::Redactor const redactor(entry);
    SUBCASE("ends when a secret is empty, and leaves short ones") { CHECK(redactor.text("a b c") == "a b c"); }
    SUBCASE("takes every place") {
        CHECK(redactor.text("x hunter2hunter2 y hunter2hunter2") == "x [redacted: KEY] y [redacted: KEY]");
    }
}
