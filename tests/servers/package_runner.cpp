#include <doctest/doctest.h>

#include <servers/package_runner.hpp>

using namespace std::chrono_literals;
using servers::Fetch;
using servers::PackageRunner;
using Kind = servers::PackageRunner::Kind;
using Words = std::vector<std::string>;

namespace {

config::ServerEntry entry(std::string command, Words args = {}, Words domains = {}) {
    config::ServerEntry e;
    e.name = "x";
    e.command = std::move(command);
    e.args = std::move(args);
    e.sandbox.allowed_domains = std::move(domains);
    return e;
}

PackageRunner runner(config::ServerEntry const& e) {
    auto found = servers::package_runner(e);
    REQUIRE(found.has_value());
    return *found;
}

bool exact(std::string command, Words args) {
    return runner(entry(std::move(command), std::move(args))).exact;
}

Words hosts(config::ServerEntry const& e) { return runner(e).hosts; }

void set(config::ServerEntry& e, std::string const& name, std::string value) {
    e.env[name] = {base::Secret(std::move(value)), false};
}

}  // namespace

TEST_CASE("package runners") {
    SUBCASE("are known by the names and spellings that people have in their files") {
        struct Row {
            char const* command;
            Words args;
            Kind kind;
            Words packages;
        };
        std::vector<Row> const rows{
            {"npx", {"-y", "@scope/server"}, Kind::npm, {"@scope/server"}},
            {"/opt/homebrew/bin/npx", {"@scope/server", "/home/me"}, Kind::npm, {"@scope/server"}},
            {"npx",
             {"--yes", "--package", "@a/b@1.0.0", "b-server", "--port", "1"},
             Kind::npm,
             {"@a/b@1.0.0"}},
            {"npx", {"-y", "-p", "a", "-p", "b", "--", "run"}, Kind::npm, {"a", "b"}},
            {"npx", {"--package=a", "a"}, Kind::npm, {"a"}},
            {"npx", {"--registry", "https://r.example", "a"}, Kind::npm, {"a"}},
            {"npm", {"exec", "-y", "--", "a@1.2.3", "x"}, Kind::npm, {"a@1.2.3"}},
            {"npm", {"--prefix", "/tmp", "x", "a"}, Kind::npm, {"a"}},
            {"pnpm", {"dlx", "a"}, Kind::npm, {"a"}},
            {"uvx", {"mcp-server-git", "--repository", "/r"}, Kind::uv, {"mcp-server-git"}},
            {"uvx", {"--from", "mcp-git==1.0", "git-server"}, Kind::uv, {"mcp-git==1.0"}},
            {"uvx", {"--python", "3.12", "--with", "extra", "tool@2.0"}, Kind::uv, {"tool@2.0", "extra"}},
            {"uv", {"tool", "run", "tool"}, Kind::uv, {"tool"}},
            {"uv", {"--directory", "/srv/x", "run", "server.py"}, Kind::uv, {}},
            {"uv", {"run", "--with", "mcp", "mcp", "run", "server.py"}, Kind::uv, {"mcp"}},
            {"pipx", {"run", "--spec", "a==1.0", "a-server"}, Kind::pip, {"a==1.0"}},
            {"pipx", {"run", "a"}, Kind::pip, {"a"}},
            {"bunx", {"-y", "a"}, Kind::bun, {"a"}},
            {"bun", {"x", "a"}, Kind::bun, {"a"}},
            {"npx", {}, Kind::npm, {}},
        };
        for (auto const& row : rows) {
            auto const e = entry(row.command, row.args);
            auto const found = servers::package_runner(e);
            INFO(row.command << " " << (row.args.empty() ? "" : row.args.back()));
            REQUIRE(found.has_value());
            CHECK(found->kind == row.kind);
            CHECK(found->packages == row.packages);
        }
        CHECK(runner(entry("/opt/homebrew/bin/npx", {"a"})).program == "npx");
    }
    SUBCASE("are not what has a similar name, another verb, or an address") {
        CHECK_FALSE(servers::package_runner(entry("node", {"npx"})));
        CHECK_FALSE(servers::package_runner(entry("npx2", {"a"})));
        CHECK_FALSE(servers::package_runner(entry("npm", {"start"})));
        CHECK_FALSE(servers::package_runner(entry("npm", {"run", "exec"})));
        CHECK_FALSE(servers::package_runner(entry("npm")));
        CHECK_FALSE(servers::package_runner(entry("bun", {"server.ts"})));
        CHECK_FALSE(servers::package_runner(entry("uv", {"pip", "install", "a"})));
        CHECK_FALSE(servers::package_runner(entry("pipx", {"install", "a"})));
        auto remote = entry("npx");
        remote.kind = config::ServerEntry::Kind::http;
        CHECK_FALSE(servers::package_runner(remote));
    }
    SUBCASE("name one version only where no tag, range or second package may be another one tomorrow") {
        CHECK(exact("npx", {"-y", "a@1.2.3"}));
        CHECK(exact("npx", {"@scope/a@2026.8.31"}));
        CHECK(exact("npx", {"a@1.2.3-rc.1"}));
        CHECK(exact("uvx", {"a@1.2"}));
        CHECK(exact("uvx", {"--from", "a==1.2.post1", "b"}));
        CHECK(exact("pipx", {"run", "--spec", "a==1.2", "a"}));
        CHECK(exact("bunx", {"a@1.2.3"}));
        for (auto const* package : {"a", "@scope/a", "a@latest", "a@1", "a@1.2", "a@^1.2.3", "a@1.x.0",
                                    "a@>=1.2.3", "a@1.2.3 || 2.0.0", "a@", "a@1..3"}) {
            INFO(package);
            CHECK_FALSE(exact("npx", {"-y", package}));
        }
        CHECK_FALSE(exact("npx", {"-p", "a@1.2.3", "-p", "b", "run"}));
        CHECK_FALSE(exact("npx", {}));
        CHECK_FALSE(exact("uvx", {"a"}));
        CHECK_FALSE(exact("uvx", {"a>=1.0"}));
        CHECK_FALSE(exact("uvx", {"a@latest"}));
        CHECK_FALSE(exact("uvx", {"--with", "b", "a@1.0"}));
        CHECK_FALSE(exact("uv", {"run", "--with", "a==1.0", "server.py"}));
    }
}

TEST_CASE("the hosts that a runner needs") {
    SUBCASE("are those of the public registry") {
        CHECK(hosts(entry("npx", {"a"})) == Words{"registry.npmjs.org"});
        CHECK(hosts(entry("bunx", {"a"})) == Words{"registry.npmjs.org"});
        CHECK(hosts(entry("uvx", {"a"})) == Words{"pypi.org", "files.pythonhosted.org"});
        CHECK(hosts(entry("pipx", {"run", "a"})) == Words{"pypi.org", "files.pythonhosted.org"});
    }
    SUBCASE("are those that arguments and variables name, without what is secret in an address") {
        CHECK(hosts(entry("npx", {"--registry=https://npm.example.com/x/", "a"})) ==
              Words{"npm.example.com"});
        CHECK(hosts(entry("npx", {"--registry", "http://u:pw@10.0.0.1:4873", "a"})) ==
              Words{"10.0.0.1:4873"});
        CHECK(hosts(entry("npx", {"--registry", "https://[fd00::1]:443/", "a"})) == Words{"[fd00::1]"});
        CHECK(hosts(entry("npx", {"--registry", "nonsense", "a"})) == Words{"registry.npmjs.org"});
        auto e = entry("npx", {"a"});
        set(e, "NPM_CONFIG_REGISTRY", "https://Mirror.example.com");
        CHECK(hosts(e) == Words{"mirror.example.com"});
        auto python = entry("uvx", {"--extra-index-url", "https://more.example/simple", "a"});
        CHECK(hosts(python) == Words{"pypi.org", "files.pythonhosted.org", "more.example"});
        set(python, "UV_DEFAULT_INDEX", "https://pypi.example/simple");
        CHECK(hosts(python) == Words{"pypi.example", "more.example"});
        auto pip = entry("pipx", {"run", "a"});
        set(pip, "PIP_INDEX_URL", "https://pypi.example/simple");
        CHECK(hosts(pip) == Words{"pypi.example"});
        CHECK(hosts(entry("npx", {"a", "--registry", "https://its-own-argument.example"})) ==
              Words{"registry.npmjs.org"});
    }
    SUBCASE("are missing where no pattern of the entry covers them, and what to write is said") {
        auto const missing = [](config::ServerEntry const& e) {
            return servers::missing_hosts(runner(e), e);
        };
        auto const advice = [](config::ServerEntry const& e) {
            return servers::network_advice(runner(e), e);
        };
        auto const none = entry("npx", {"-y", "a"});
        CHECK(missing(none) == Words{"registry.npmjs.org"});
        CHECK(advice(none) ==
              "npx downloads packages, and this server may not reach registry.npmjs.org: write \"sandbox\": "
              "{\"network\": "
              "{\"allowedDomains\": [\"registry.npmjs.org\"]}} into its entry");
        CHECK(
            advice(entry("uvx", {"a"})) ==
            "uvx downloads packages, and this server may not reach pypi.org or files.pythonhosted.org: write "
            "\"sandbox\": "
            "{\"network\": {\"allowedDomains\": [\"pypi.org\", \"files.pythonhosted.org\"]}} into its entry");
        CHECK(advice(entry("npx", {"a"}, {"api.github.com"})) ==
              "npx downloads packages, and this server may not reach registry.npmjs.org: add "
              "\"registry.npmjs.org\" to "
              "sandbox.network.allowedDomains of its entry");
        for (auto const* pattern : {"registry.npmjs.org", "*.npmjs.org", "*", "registry.npmjs.org:443"})
            CHECK_MESSAGE(missing(entry("npx", {"a"}, {pattern})).empty(), pattern);
        CHECK(missing(entry("npx", {"a"}, {"registry.npmjs.org:8080"})).size() == 1);
        CHECK(missing(entry("uvx", {"a"}, {"pypi.org"})) == Words{"files.pythonhosted.org"});
        CHECK(missing(entry("npx", {"--registry", "http://10.0.0.1:4873", "a"}, {"10.0.0.1:4873"})).empty());
        CHECK(missing(entry("npx", {"--registry", "http://10.0.0.1:4873", "a"}, {"10.0.0.1"})).size() == 1);
        auto outside = none;
        outside.isolation = config::ServerEntry::Isolation::host_insecure;
        CHECK(missing(outside).empty());
        CHECK(advice(outside) == "");
    }
}

TEST_CASE("where a start gets its package from") {
    auto const online = Words{"registry.npmjs.org", "pypi.org"};
    auto const first = [](config::ServerEntry const& e, bool known) {
        return servers::first_fetch(runner(e), e, known);
    };
    SUBCASE("the registry, until an exact version has started once") {
        auto const e = entry("npx", {"a@1.2.3"}, online);
        CHECK(first(e, false) == Fetch::registry);
        CHECK(first(e, true) == Fetch::cache);
        CHECK(first(entry("npx", {"a"}, online), true) == Fetch::registry);
        CHECK(first(entry("uvx", {"a@1.0"}, online), true) == Fetch::registry);
    }
    SUBCASE("nowhere without a network, and then there is no second attempt") {
        auto const e = entry("npx", {"a@1.2.3"});
        CHECK(first(e, false) == Fetch::nowhere);
        CHECK(first(e, true) == Fetch::nowhere);
        CHECK_FALSE(servers::next_fetch(runner(e), e, Fetch::nowhere, true));
        auto outside = e;
        outside.isolation = config::ServerEntry::Isolation::host_insecure;
        CHECK(first(outside, false) == Fetch::registry);
    }
    SUBCASE("the other of the two when one failed, as far as there is another one") {
        auto const next = [](config::ServerEntry const& e, Fetch failed, bool known) {
            return servers::next_fetch(runner(e), e, failed, known);
        };
        auto const e = entry("npx", {"a"}, online);
        CHECK(next(e, Fetch::registry, false) == Fetch::registry);
        CHECK(next(e, Fetch::registry, true) == Fetch::cache);
        CHECK(next(e, Fetch::cache, true) == Fetch::registry);
        auto const refused = entry("npx", {"a"}, {"api.example.com"});  // its registry would be refused again
        CHECK_FALSE(next(refused, Fetch::registry, false));
        CHECK_FALSE(next(refused, Fetch::cache, true));
        CHECK(next(refused, Fetch::registry, true) == Fetch::cache);
        CHECK(servers::runner_environment(runner(refused), Fetch::registry, refused)
                  .at("npm_config_fetch_retries") == "0");
    }
    SUBCASE("is told to the runner in its own variables, and the entry's win in any spelling") {
        auto const told = [](config::ServerEntry const& e, Fetch f) {
            return servers::runner_environment(runner(e), f, e);
        };
        auto e = entry("npx", {"a"});
        CHECK(told(e, Fetch::nowhere).at("npm_config_offline") == "true");
        CHECK(told(e, Fetch::cache).at("npm_config_prefer_offline") == "true");
        CHECK_FALSE(told(e, Fetch::registry).contains("npm_config_prefer_offline"));
        CHECK_FALSE(told(e, Fetch::registry).contains("npm_config_offline"));
        CHECK(told(e, Fetch::registry).at("npm_config_update_notifier") == "false");
        set(e, "NPM_CONFIG_OFFLINE", "false");
        CHECK_FALSE(told(e, Fetch::nowhere).contains("npm_config_offline"));
        CHECK(told(entry("uvx", {"a"}), Fetch::nowhere).at("UV_OFFLINE") == "1");
        CHECK_FALSE(told(entry("uvx", {"a"}), Fetch::registry).contains("UV_OFFLINE"));
        CHECK(told(entry("pipx", {"run", "a"}), Fetch::nowhere).at("PIP_NO_INDEX") == "1");
        for (auto const& [name, value] : told(entry("bunx", {"a"}), Fetch::registry))
            CHECK_MESSAGE(false, name);
    }
    SUBCASE("decides how long it may take, unless the entry does") {
        auto e = entry("npx", {"a"});
        CHECK(servers::start_limit(e, Fetch::registry) == 180s);
        CHECK(servers::start_limit(e, Fetch::cache) == 60s);
        CHECK(servers::start_limit(e, Fetch::nowhere) == 60s);
        CHECK(servers::start_limit(e, std::nullopt) == 60s);
        e.start_timeout = 5s;
        e.start_timeout_said = true;
        CHECK(servers::start_limit(e, Fetch::registry) == 5s);
    }
}

TEST_CASE("what a failed start means") {
    auto const npx = entry("npx", {"-y", "@a/b@1.0.0"});
    auto const of = [&](Words const& said) { return servers::complaint_of(runner(npx), said); };
    SUBCASE("a program that is not there, as bash and dash say it") {
        auto const uvx = entry("uvx", {"a"});
        for (auto const* line : {"bash: line 1: exec: uvx: not found",
                                 "/bin/bash: line 1: exec: uvx: not found", "sh: 1: exec: uvx: not found"}) {
            auto const found = servers::missing_program(uvx, "base", {"before", line});
            CHECK(found.sentence ==
                  "uvx is not in the template \"base\": name one that has it in sandbox.template "
                  "(docs/config.md, "
                  "templates_dir, says how one is made)");
            CHECK(found.certain);
        }
        CHECK(servers::missing_program(uvx, "base", {"git: not found", "exec: uvxx: not found"}).sentence ==
              "");
        auto const brew = entry("/opt/homebrew/bin/npx", {"a"});
        CHECK(servers::missing_program(brew, "base",
                                       {"bash: line 1: /opt/homebrew/bin/npx: No such file or directory"})
                  .sentence ==
              "/opt/homebrew/bin/npx is not there in its sandbox: write \"command\": \"npx\", which is the "
              "template's own");
        CHECK(servers::no_such_program(entry("/opt/x/server"), "base") ==
              "/opt/x/server is not there in its sandbox: name what it needs of this machine in "
              "sandbox.filesystem.allowRead");
    }
    SUBCASE("npm's own words, of both of its generations") {
        for (auto const* npm : {"npm ERR! code ", "npm error code "}) {
            CHECK(of({std::string(npm) + "ENOTCACHED"}).sentence == "@a/b@1.0.0 is not in its volume yet");
            CHECK(of({std::string(npm) + "E404"}).sentence ==
                  "the registry has no @a/b@1.0.0, or not without a login");
            CHECK(of({std::string(npm) + "ETARGET"}).sentence ==
                  "the registry has no such version of @a/b@1.0.0");
            CHECK(of({std::string(npm) + "ENOSPC"}).sentence ==
                  "its volume is full: sandbox.diskMb gives it more");
            for (auto const* code : {"ENOTCACHED", "E404", "ETARGET", "E401", "ENOSPC"})
                CHECK(of({npm + std::string(code)}).certain);
        }
    }
    SUBCASE("a download that broke off is worth another attempt") {
        for (auto const* code : {"ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "E502", "EINTEGRITY"}) {
            auto const found = of({std::string("npm ERR! code ") + code});
            CHECK(found.sentence == "npx could not fetch @a/b@1.0.0");
            CHECK(found.fetching);
            CHECK_FALSE(found.certain);
        }
        auto const uvx = entry("uvx", {"a"});
        CHECK(servers::complaint_of(runner(uvx), {"error: Failed to fetch: `https://pypi.org/simple/a/`"})
                  .fetching);
    }
    SUBCASE("a server that ends with words of its own is no failure of its runner's") {
        for (Words const& said : {Words{}, Words{"Error: API_KEY is not set"},
                                  Words{"npm WARN exec The following package was not found"},
                                  Words{"this server says E404 of npm"}}) {
            CHECK(of(said).sentence == "");
            CHECK_FALSE(of(said).fetching);
            CHECK_FALSE(of(said).certain);
        }
    }
}
