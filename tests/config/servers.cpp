#include <base/files.hpp>
#include <config/servers.hpp>

#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <testing/io.hpp>

using config::parse_servers;
using config::ServerEntry;

namespace {

config::ServerVariables variables() {
    config::ServerVariables out;
    out.environment = [](std::string const& name) -> std::optional<std::string> {
        if (name == "HOME") return "/home/me";
        if (name == "GH_TOKEN") return "ghp_0123456789";
        if (name == "EMPTY") return "";
        if (name == "BERTH_INPUT_PERPLEXITY_KEY") return "pplx-0123456789";
        if (name == "BERTH_INPUT_old") return "as it was written";
        if (name == "NESTED") return "${GH_TOKEN}";
        if (name == "HOOK") return "https://x.example/s/a1b2c3d4e5f6a7b8/mcp";
        if (name == "SITE") return "https://x.example/v1/mcp";
        if (name == "HOOK_PATH") return "/home/me/hooks";
        return std::nullopt;
    };
    out.file = [](std::string const& path) -> base::Result<std::string> {
        if (path == "/run/secrets/x") return std::string("from a file\n");
        if (path == "/etc/app.env")
            return std::string("# one a line\nexport A=1\nB=\"two words\"\nSAME=file\n");
        return base::error(base::errc::not_found, "there is no " + path);
    };
    return out;
}

config::ServerFile parsed(std::string const& text) {
    auto file = parse_servers(text, "servers.json", variables());
    REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message()));
    return *file;
}

ServerEntry one(std::string const& entry) {
    auto file = parsed(R"({"mcpServers": {"x": )" + entry + "}}");
    REQUIRE(file.servers.size() == 1);
    return file.servers[0];
}

std::string problem(std::string const& entry) { return one(entry).problem; }

std::string refused(std::string const& text) {
    auto file = parse_servers(text, "servers.json", variables());
    return file ? "accepted" : file.error().message();
}

}  // namespace

TEST_CASE("servers.json") {
    SUBCASE("is read in the shapes that clients write") {
        for (
            auto const* text :
            {R"({"mcpServers": {"fs": {"command": "npx", "args": ["-y", "a"]}}})",
             R"({"servers": {"fs": {"type": "stdio", "command": "npx", "args": ["-y", "a"]}}, "inputs": []})",
             R"({"mcp": {"servers": {"fs": {"command": ["npx", "-y", "a"]}}}})",
             R"({"fs": {"command": "npx", "args": ["-y", "a"]}})",
             "{ // comment\n \"mcpServers\": { /* and\n another */ \"fs\": {\"command\": \"npx\", \"args\": "
             "[\"-y\", \"a\",],},},}"}) {
            INFO(text);
            auto const file = parsed(text);
            REQUIRE(file.servers.size() == 1);
            CHECK(file.servers[0].problem == "");
            CHECK(file.servers[0].name == "fs");
            CHECK(file.servers[0].command == "npx");
            CHECK(file.servers[0].args == std::vector<std::string>{"-y", "a"});
        }
    }
    SUBCASE("is refused as a whole, with the line, when it is none") {
        CHECK(refused("{\n\"mcpServers\": [\n") == "servers.json:3: expected a value");
        CHECK(refused("{\n\"mcpServers\": []\n}").starts_with("servers.json:2: expected {\"mcpServers\""));
        CHECK(refused("{\"theme\": \"dark\"}").starts_with("servers.json:1: expected {\"mcpServers\""));
        CHECK(refused("{\"mcpServers\": {\n\"a\": {\"command\": \"x\"},\n\"a\": {\"command\": \"y\"}}}") ==
              "servers.json:3: expected the key \"a\" once, it stands here twice");
        CHECK(refused("{/*\n") == "servers.json:1: expected the end of this comment");
        CHECK(refused("\xFF") == "servers.json:1: expected UTF-8");
        CHECK(refused(std::string(200, '[')).find("32 levels") != std::string::npos);
    }
    SUBCASE("keeps the others when one entry is wrong, and names line and key") {
        auto const file = parsed(
            "{\"mcpServers\": {\n \"good\": {\"command\": \"a\"},\n \"bad\": {\n  \"command\": \"b\",\n"
            "  \"args\": [1]\n }\n}}");
        REQUIRE(file.servers.size() == 2);
        CHECK(file.servers[0].problem == "");
        CHECK(file.servers[1].problem == "servers.json:5: bad.args: expected a string, not a number");
    }
    SUBCASE("names what was expected instead") {
        struct {
            char const *entry, *message;
        } const table[] = {
            {R"({})", "servers.json:1: x.command: expected a command to start, or a url"},
            {R"({"command": "a", "url": "https://b"})",
             "servers.json:1: x.url: expected either command or url, not both"},
            {R"({"type": "http"})", "servers.json:1: x.url: expected the server's address"},
            {R"({"type": "ws", "url": "ws://a"})",
             "servers.json:1: x.type: expected stdio, http, streamable-http or sse, not \"ws\""},
            {R"({"url": "ftp://b"})",
             "servers.json:1: x.url: expected an address that begins with https:// or http://"},
            {R"({"command": "a", "disabled": true, "enabled": true})",
             "servers.json:1: x.enabled: expected disabled and enabled not to contradict each other"},
            {R"({"command": "a", "timeout": 30})",
             "servers.json:1: x.timeout: expected milliseconds, at least 1000: 30 looks like seconds; write "
             "callTimeoutMs, or "
             "\"dialect\": \"cline\" where timeout counts seconds"},
            {R"({"command": "${NO_SUCH}"})",
             "servers.json:1: x.command: expected the environment variable NO_SUCH to be set where "
             "berth runs, or ${NO_SUCH:-default}"},
            {R"({"command": "a", "sandbox": {"pids": 63}})",
             "servers.json:1: x.sandbox.pids: expected a whole number from 64 to 100000"},
            {R"({"command": "a", "sandbox": {"cpus": 0.05}})",
             "servers.json:1: x.sandbox.cpus: expected a number from 0.1 to 1024.0"},
            {R"({"command": "a", "sandbox": {"memoryMb": 63}})",
             "servers.json:1: x.sandbox.memoryMb: expected a whole number from 64 to 1048576"},
            {R"({"command": "a", "sandbox": {"memryMb": 5}})",
             "servers.json:1: x.sandbox.memryMb: there is no such key; the nearest is sandbox.memoryMb"},
            {R"({"command": "a", "sandbox": {"filesystem": {"allowRead": ["/"]}}})",
             "servers.json:1: x.sandbox.filesystem.allowRead: expected absolute paths without .., not / "
             "itself: \"/\""},
            {R"({"command": "a", "sandbox": {"filesystem": {"allowRead": ["/a"], "denyRead": ["/a/b"]}}})",
             "servers.json:1: x.sandbox.filesystem.denyRead: expected nothing that lies within what is "
             "allowed: narrow the allowed "
             "list instead of refusing /a/b"},
            {R"({"command": "a", "sandbox": {"network": {"allowedDomains": ["*"]}}})",
             "servers.json:1: x.sandbox.network.allowedDomains: expected hosts by name, not \"*\""},
            {R"({"command": "a", "isolation": "none"})",
             "servers.json:1: x.isolation: expected sandbox, or host-insecure: the server then runs with all "
             "of berth's rights"},
            {R"("npx")", "servers.json:1: x.: expected an object"},
        };
        for (auto const& row : table) {
            INFO(row.entry);
            CHECK(problem(row.entry) == row.message);
        }
    }
    SUBCASE("refuses what is allowed as well, wherever it stands, for it could not be kept") {
        auto const files = [](std::string const& lists) {
            return problem("{\"command\": \"a\", \"sandbox\": {\"filesystem\": {\n" + lists + "}}}");
        };
        auto const hosts = [](std::string const& lists) {
            return problem("{\"command\": \"a\", \"sandbox\": {\"network\": {\n" + lists + "}}}");
        };
        for (auto const* kept :
             {R"("denyRead": ["/root/.ssh", "~/.ssh", "**/.env"], "denyWrite": ["/etc"])", R"("allowWrite": ["/a"], "denyRead": ["/b", "/ab"])",
              R"("denyRead": ["/home"], "allowRead": ["/home/me/notes"])", R"("allowRead": ["/a"], "denyWrite": ["/a"])",
              R"("allowWrite": ["/srv/x"], "denyRead": ["~/.ssh"])"}) {
            INFO(kept);
            CHECK(files(kept) == "");
        }
        for (auto const* lost :
             {R"("allowWrite": ["/home/me"], "denyRead": ["/home/me/.ssh"])", R"("denyRead": ["/a/b"], "allowRead": ["/a"])",
              R"("denyRead": ["/a/./b/"], "allowRead": ["/a"])", R"("denyRead": ["/a/x/../b"], "allowRead": ["/a/b"])",
              R"("denyRead": ["~/.ssh"], "allowRead": ["/home/me"])", R"("denyRead": ["**/.env"], "allowRead": ["/a"])",
              R"("denyWrite": ["/a"], "allowWrite": ["/a/b"])", R"("denyRead": ["/a"], "allowWrite": ["/a/b"])",
              R"("denyRead": ["/"], "allowWrite": ["/a"])", R"("denyWrite": ["/a"], "allowWrite": ["/a"])"}) {
            INFO(lost);
            CHECK(files(lost).starts_with("servers.json:2: x.sandbox.filesystem.deny"));
        }
        for (auto const* kept :
             {R"("deniedDomains": ["*", "https://x.com"])", R"("allowedDomains": ["x.com"], "deniedDomains": ["*.x.com", "y.com", "x.com:22"])",
              R"("allowedDomains": ["x.com:22"], "deniedDomains": ["x.com:443", "ax.com"])"}) {
            INFO(kept);
            CHECK(hosts(kept) == "");
        }
        for (auto const* lost :
             {R"("deniedDomains": ["x.com"], "allowedDomains": ["x.com"])", R"("allowedDomains": ["a.x.com"], "deniedDomains": ["*.x.com"])",
              R"("allowedDomains": ["x.com:443"], "deniedDomains": ["x.com"])", R"("allowedDomains": ["*.x.com"], "deniedDomains": ["a.X.com."])",
              R"("allowedDomains": ["*.a.x.com"], "deniedDomains": ["*.x.com"])", R"("allowedDomains": ["x.com"], "deniedDomains": ["*"])",
              R"("allowedDomains": ["x.com"], "deniedDomains": ["https://y.com"])", R"("allowedDomains": ["x.com"], "deniedDomains": ["x.com:443"])",
              R"("allowedDomains": ["[0:0::1]"], "deniedDomains": ["[::1]"])"}) {
            INFO(lost);
            CHECK(hosts(lost).starts_with("servers.json:2: x.sandbox.network.deniedDomains: expected "));
        }
        CHECK(problem(R"({"command": "a", "isolation": "host-insecure", "sandbox": {"filesystem": {"denyRead": ["/a"]}}})")
                  .find("outside any sandbox") != std::string::npos);
        CHECK(problem(R"({"command": "a", "sandbox": {"workspace": "w", "filesystem": {"denyRead": ["${workspaceFolder}/.env"]}}})")
                  .find("sandbox.workspace") != std::string::npos);
    }
    SUBCASE("replaces variables once, from the environment, files and inputs") {
        auto const e = one(
            R"({"command": "${userHome}/bin/${NO:-x}", "args": ["$HOME", "${env:GH_TOKEN}", "${NESTED}", "$${GH_TOKEN}",
            "${EMPTY:-full}"], "env": {"A": "${file:/run/secrets/x}", "PORT": 80}})");
        CHECK(e.problem == "");
        CHECK(e.command == "/home/me/bin/x");
        CHECK(e.args ==
              std::vector<std::string>{"$HOME", "ghp_0123456789", "${GH_TOKEN}", "${GH_TOKEN}", "full"});
        CHECK(e.env.at("A").value.reveal() == "from a file");
        CHECK(e.env.at("PORT").value.reveal() == "80");
        CHECK(one(R"({"command": "a", "dialect": "gemini", "args": ["$GH_TOKEN"]})").args[0] ==
              "ghp_0123456789");
        auto const file = parsed(R"({"inputs": [{"id": "k", "type": "promptString", "default": "d"}],
            "servers": {"x": {"command": "a", "env": {"K": "${input:k}"}}}})");
        CHECK(file.servers[0].env.at("K").value.reveal() == "d");
        auto const asked = parsed(
            R"({"inputs": [{"id": "k"}], "servers": {"x": {"command": "a", "env": {"K": "${input:k}"}}}})");
        CHECK(asked.servers[0].problem.find("BERTH_INPUT_K ") != std::string::npos);
        auto const of_code = parsed(
            R"({"mcp": {"inputs": [{"id": "perplexity-key"}, {"id": "old"}, {"id": "d", "default": "x"}], "servers": {"x": {"command": "a",
            "args": ["${input:d}", "${input:old}"], "env": {"K": "${input:perplexity-key}"}}}}})");
        CHECK(of_code.servers[0].problem == "");
        CHECK(of_code.servers[0].env.at("K").value.reveal() == "pplx-0123456789");
        CHECK(of_code.servers[0].args == std::vector<std::string>{"x", "as it was written"});
    }
    SUBCASE("knows which values are secret") {
        auto const e = one(
            R"({"command": "a", "env": {"API_TOKEN": "abcdefgh", "ROOT": "/workspace/data", "PLAIN": "production",
            "FROM": "${GH_TOKEN}", "URL": "postgres://u:p@host/db", "SITE": "https://example.com/a", "ID": "a1b2c3d4e5f6a7b8"},
            "envFile": "/etc/app.env"})");
        REQUIRE(e.problem == "");
        for (auto const* name : {"API_TOKEN", "FROM", "URL", "ID"})
            CHECK_MESSAGE(e.env.at(name).sensitive, name);
        for (auto const* name : {"ROOT", "PLAIN", "SITE"}) CHECK_MESSAGE(!e.env.at(name).sensitive, name);
        CHECK(e.env.at("B").value.reveal() == "two words");
    }
    SUBCASE("knows what came from outside in arguments, commands and addresses, and that it makes memory confidential") {
        auto const e = one(
            R"({"command": "${NESTED}", "args": ["--key", "x-${env:GH_TOKEN}", "${file:/run/secrets/x}", "${userHome}", "${NO:-otherwise}"],
            "sandbox": {"filesystem": {"allowRead": ["${HOOK_PATH}"]}}})");
        REQUIRE(e.problem == "");
        REQUIRE(e.outside.size() == 3);
        CHECK(e.outside.at("GH_TOKEN").value.reveal() == "ghp_0123456789");
        CHECK(e.outside.at("file:/run/secrets/x").value.reveal() == "from a file");
        for (auto const& [name, value] : e.outside) CHECK_MESSAGE(value.sensitive, name);
        CHECK(e.is_confidential());
        CHECK_FALSE(one(R"({"command": "${userHome}/x", "args": ["${NO:-y}"]})").is_confidential());
        CHECK(one(R"({"command": "a", "env": {"B": "c"}})").is_confidential());
        CHECK(one(R"({"url": "${HOOK}"})").outside.at("HOOK").sensitive);
        CHECK_FALSE(one(R"({"url": "${SITE}"})").outside.at("SITE").sensitive);
    }
    SUBCASE("takes the spellings of other programs") {
        auto const e = one(
            R"({"command": "a", "startup_timeout_sec": 10, "tool_timeout_sec": 2.5, "idle_timeout_seconds": 60,
            "disabledTools": ["d"], "includeTools": ["i*"], "toolDescriptionOverrides": {"i": "text"}, "alwaysAllow": ["i"],
            "lazy": false, "maxRestarts": 0, "somethingElse": 1})");
        REQUIRE(e.problem == "");
        CHECK(e.start_timeout.count() == 10'000);
        CHECK(e.call_timeout.count() == 2'500);
        CHECK(e.idle_timeout.count() == 60'000);
        CHECK(e.tools.deny == std::vector<std::string>{"d"});
        CHECK(e.tools.allow == std::vector<std::string>{"i*"});
        CHECK(e.tools.describe.at("i") == "text");
        CHECK_FALSE(e.start_on_demand);
        CHECK(e.max_restarts == 0);
        CHECK(e.notes.size() == 2);
        CHECK(one(R"({"command": "a", "tools": ["t"]})").tools.allow == std::vector<std::string>{"t"});
        CHECK(one(R"({"command": "a", "tools": {"deny": ["t"]}})").tools.deny ==
              std::vector<std::string>{"t"});
        for (auto const* none : {R"("tools": [])", R"("tools": {"allow": []})", R"("includeTools": [])", R"("enabled_tools": [])"}) {
            auto const allow = one(std::string(R"({"command": "a", )") + none + "}").tools.allow;
            CHECK_MESSAGE((allow && allow->empty()), none);
        }
        CHECK_FALSE(one(R"({"command": "a", "tools": {"deny": ["t"]}})").tools.allow.has_value());
        CHECK(one(R"({"command": "a", "dialect": "cline", "timeout": 30})").call_timeout.count() == 30'000);
        auto const remote = one(R"({"serverUrl": "https://a/mcp", "bearer_token_env_var": "GH_TOKEN"})");
        CHECK(remote.kind == ServerEntry::Kind::http);
        CHECK(remote.sse_fallback);
        CHECK(remote.headers.at("Authorization").value.reveal() == "Bearer ghp_0123456789");
        CHECK_FALSE(one(R"({"type": "streamable-http", "url": "https://a/mcp"})").sse_fallback);
    }
    SUBCASE("tells a changed server from one whose tools alone are shown differently") {
        auto const print = [](char const* entry) { return one(entry).fingerprint; };
        CHECK(print(R"({"command": "a"})") ==
              print(R"({"command": "a", "tools": {"deny": ["x"]}, "callTimeoutMs": 5000})"));
        CHECK(print(R"({"command": "a"})") != print(R"({"command": "a", "args": ["b"]})"));
        CHECK(print(R"({"command": "a", "env": {"A": "1"}})") !=
              print(R"({"command": "a", "env": {"A": "2"}})"));
        CHECK(print(R"({"command": "a"})") != print(R"({"command": "a", "sandbox": {"memoryMb": 64}})"));
    }
}

TEST_CASE("how an entry logs in") {
    SUBCASE("is said in the spellings of other programs") {
        for (auto const* login :
             {R"("oauth": {"clientId": "c", "clientSecret": "s3cr3t-s3cr3t", "issuer": "https://i.example", "scopes": ["a", "b"]})",
              R"("oauth": {"client_id": "c", "client_secret": "s3cr3t-s3cr3t", "issuer": "https://i.example", "scope": "a b"})",
              R"("auth": {"CLIENT_ID": "c", "CLIENT_SECRET": "s3cr3t-s3cr3t", "scopes": ["a", "b"]},
                 "oauth": {"issuer": "https://i.example"})"}) {
            INFO(login);
            auto const entry = one(std::string(R"({"url": "https://x.example/mcp", )") + login + "}");
            CHECK(entry.problem == "");
            CHECK(entry.oauth.client_id == "c");
            CHECK(entry.oauth.client_secret.value.reveal() == "s3cr3t-s3cr3t");
            CHECK(entry.oauth.client_secret.sensitive);
            CHECK(entry.oauth.scopes == std::vector<std::string>{"a", "b"});
            CHECK(entry.may_log_in());
        }
    }
    SUBCASE("is not asked of who has a credential, no address, or does not want to") {
        CHECK(one(R"({"url": "https://x.example/mcp"})").may_log_in());
        CHECK_FALSE(one(R"({"url": "https://x.example/mcp", "oauth": false})").may_log_in());
        CHECK_FALSE(one(R"({"url": "https://x.example/mcp", "headers": {"authorization": "Bearer x"}})").may_log_in());
        CHECK_FALSE(one(R"({"command": "x"})").may_log_in());
    }
    SUBCASE("is refused where it cannot be kept") {
        auto const with = [](std::string const& oauth) {
            return problem(R"({"url": "https://x.example/mcp", "oauth": )" + oauth + "}");
        };
        CHECK(with(R"({"grant": "client_credentials", "clientId": "c"})").find("clientSecret") != std::string::npos);
        CHECK(with(R"({"grant": "password"})").find("expected authorization_code") != std::string::npos);
        CHECK(with(R"({"clientMetadataUrl": "http://x.example/c"})").find("https://") != std::string::npos);
        CHECK(with(R"({"scopes": ["a\"b"]})").find("visible ASCII") != std::string::npos);
        CHECK(with(R"({"callbackPort": 70000})").find("65535") != std::string::npos);
        CHECK(with(R"("yes")").find("true or false") != std::string::npos);
    }
    SUBCASE("names who is shown the secret, which the server's own metadata would otherwise choose") {
        auto const named = R"("clientId": "c", "clientSecret": "s3cr3t-s3cr3t", "issuer": "https://i.example"})";
        auto const open = R"("clientId": "c", "clientSecret": "s3cr3t-s3cr3t"})";
        auto const with = [](std::string const& oauth) {
            return problem("{\"url\": \"https://x.example/mcp\",\n\"oauth\": " + oauth + "}");
        };
        for (std::string const grant : {R"({"grant": "client_credentials", )", "{"}) {
            CHECK(with(grant + named) == "");
            CHECK(with(grant + open) ==
                  "servers.json:2: x.oauth.clientSecret: expected oauth.issuer beside it, the one authorization server that is "
                  "shown the secret: for example \"issuer\": \"https://login.example.com\"");
        }
        CHECK(with(R"({"clientId": "c"})") == "");
        CHECK(problem(R"({"url": "https://x.example/mcp", "auth": {"CLIENT_ID": "c", "CLIENT_SECRET": "s3cr3t"}})")
                  .find("oauth.issuer") != std::string::npos);
    }
    SUBCASE("makes it another server") {
        auto const print = [](std::string const& oauth) {
            return one(R"({"url": "https://x.example/mcp", "oauth": )" + oauth + "}").fingerprint;
        };
        CHECK(print(R"({"clientId": "a"})") != print(R"({"clientId": "b"})"));
        CHECK(print(R"({"callbackPort": 2000})") == print("{}"));
    }
}

TEST_CASE("the file of servers.json") {
    testing_support::TemporaryDirectory dir;
    auto const path = dir.path + "/servers.json";
    std::ofstream(path) << R"({"a": {"command": "b"}})";
    REQUIRE(::chmod(path.c_str(), 0644) == 0);
    SUBCASE("is read when it is the operator's alone") {
        CHECK(config::load_servers(path, variables()).has_value());
    }
    SUBCASE("is refused when others can write it") {
        for (mode_t const mode : {0664, 0646}) {
            REQUIRE(::chmod(path.c_str(), mode) == 0);
            auto const file = config::load_servers(path, variables());
            REQUIRE_FALSE(file.has_value());
            CHECK(base::is(file.error(), base::errc::denied));
            CHECK(file.error().message().find("chmod") != std::string::npos);
        }
    }
    SUBCASE("is refused when it is a link or of another kind") {
        auto const link = dir.path + "/link.json", fifo = dir.path + "/fifo.json";
        REQUIRE(::symlink(path.c_str(), link.c_str()) == 0);
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        for (auto const& bad : {link, fifo, dir.path}) {
            INFO(bad);
            auto const file = config::load_servers(bad, variables());
            REQUIRE_FALSE(file.has_value());
            CHECK(base::is(file.error(), base::errc::denied));
        }
    }
    SUBCASE("is told apart from one that is missing") {
        auto const file = config::load_servers(dir.path + "/none.json", variables());
        REQUIRE_FALSE(file.has_value());
        CHECK(base::is(file.error(), base::errc::not_found));
    }
}

TEST_CASE("importing servers") {
    std::vector<std::string> taken, skipped;
    auto const merged = [&](std::string const& ours, std::string const& theirs) {
        auto out = config::merge_servers(ours, theirs, "theirs.json", taken, skipped);
        REQUIRE_MESSAGE(out.has_value(), (out ? "" : out.error().message()));
        auto again = parse_servers(*out, "merged", variables());
        REQUIRE_MESSAGE(again.has_value(), *out);
        return *out;
    };
    SUBCASE("keeps what is there, comments included, and adds what is new") {
        auto const text =
            merged("{\n  // mine\n  \"mcpServers\": {\n    \"a\": {\"command\": \"x\"}, // last\n  }\n}\n",
                   R"({"mcpServers": {"a": {"command": "other"}, "b": {"command": "y", "args": ["1"]}}})");
        CHECK(text.find("// mine") != std::string::npos);
        CHECK(text.find("other") == std::string::npos);
        CHECK(taken == std::vector<std::string>{"b"});
        CHECK(skipped == std::vector<std::string>{"a"});
        auto const again = parsed(text);
        REQUIRE(again.servers.size() == 2);
        CHECK(again.servers[1].args == std::vector<std::string>{"1"});
    }
    SUBCASE("brings the inputs that the entries refer to, wherever VS Code keeps them") {
        auto const mcp = R"({"inputs": [{"id": "k", "default": "1"}, {"id": "l", "default": "2"}],
                             "servers": {"b": {"command": "y", "args": ["${input:k}", "${input:l}"]}}})";
        auto const settings = R"({"mcp": {"inputs": [{"id": "k", "default": "1"}, {"id": "l", "default": "2"}],
                                  "servers": {"b": {"command": "y", "args": ["${input:k}", "${input:l}"]}}}})";
        for (auto const* theirs : {mcp, settings})
            for (auto const* ours :
                 {"", "{}", R"({"a": {"command": "x"}})", R"({"mcpServers": {"a": {"command": "x"}}})",
                  R"({"inputs": [], "a": {"command": "x"}})", R"({"a": {"command": "x"}, "inputs": []})", R"({"mcpServers": {}, "inputs": []})", R"({"inputs": [{"id": "k", "default": "1"}], "servers": {}})",
                  R"({"mcpServers": {"a": {"command": "x"}}, "inputs": [ {"id": "z"}, ], })"}) {
                INFO(ours);
                INFO(theirs);
                skipped.clear();
                auto const again = parsed(merged(ours, theirs));
                REQUIRE(!again.servers.empty());
                CHECK(again.servers.back().problem == "");
                CHECK(again.servers.back().args == std::vector<std::string>{"1", "2"});
                CHECK(skipped.empty());
            }
        auto const kept = parsed(merged(R"({"inputs": [{"id": "k", "default": "mine"}], "servers": {}})", mcp));
        CHECK(kept.servers[0].args == std::vector<std::string>{"mine", "2"});
        CHECK(skipped == std::vector<std::string>{"the input k"});
    }
    SUBCASE("leaves out what it shall") {
        auto const out = config::merge_servers("", R"({"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}})",
                                               "theirs.json", taken, skipped, {"a"});
        REQUIRE(out.has_value());
        CHECK(taken == std::vector<std::string>{"b"});
        CHECK(parsed(*out).servers.size() == 1);
    }
    SUBCASE("knows what an entry asks for of this machine") {
        auto const entry = one(R"({"command": "x", "env": {"A": "${file:/run/secrets/x}", "B": "${GH_TOKEN}"},
                                   "envFile": "/etc/app.env"})");
        CHECK(entry.files == std::vector<std::string>{"/etc/app.env", "/run/secrets/x"});
        CHECK(entry.variables == std::vector<std::string>{"GH_TOKEN"});
        CHECK(one(R"({"command": "x"})").files.empty());
    }
    SUBCASE("makes a file where there is none") {
        CHECK(parsed(merged("", R"({"servers": {"v": {"command": "z"}}})")).servers[0].command == "z");
        CHECK(parsed(merged("{}", R"({"v": {"command": "z"}})")).servers[0].name == "v");
    }
}
