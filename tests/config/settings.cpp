#include <config/settings.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

#include <fstream>

using config::parse_settings;
using config::Settings;

namespace {

std::string failure(std::string const& text) {
    auto const result = parse_settings(text, "berth.yaml");
    if (result) return "accepted";
    CHECK(base::is(result.error(), base::errc::invalid));
    return result.error().message();
}

bool same(Settings const& a, Settings const& b) {
    auto const limits = [](Settings::Limits const& x, Settings::Limits const& y) {
        return x.memory_bytes == y.memory_bytes && x.cpus == y.cpus && x.pids == y.pids && x.disk_bytes == y.disk_bytes;
    };
    bool pools = a.pools.size() == b.pools.size();
    for (auto const& [name, pool] : a.pools) {
        auto const other = b.pools.find(name);
        pools = pools && other != b.pools.end() && other->second.ready == pool.ready && other->second.awake == pool.awake;
    }
    auto const &l = a.listen, &m = b.listen;
    return l.address == m.address && l.port == m.port && l.hosts == m.hosts && l.url == m.url && l.origins == m.origins &&
           l.tls_certificate == m.tls_certificate && l.tls_key == m.tls_key &&
           l.insecure_plain_http == m.insecure_plain_http && a.templates_dir == b.templates_dir && pools &&
           a.default_template == b.default_template && limits(a.limits, b.limits) && limits(a.max_limits, b.max_limits) &&
           a.max_workspaces == b.max_workspaces && a.max_sandboxes == b.max_sandboxes && a.max_boots == b.max_boots &&
           a.snapshots.per_workspace == b.snapshots.per_workspace && a.snapshots.max_bytes == b.snapshots.max_bytes &&
           a.idle.freeze_after == b.idle.freeze_after && a.idle.stop_after == b.idle.stop_after &&
           a.idle.hibernate_after == b.idle.hibernate_after && a.idle.keep_alive == b.idle.keep_alive &&
           a.hibernation.disk_bytes == b.hibernation.disk_bytes &&
           a.hibernation.memory_ceiling == b.hibernation.memory_ceiling && a.network.max_allow == b.network.max_allow &&
           a.network.insecure_private_addresses == b.network.insecure_private_addresses && a.toolsets == b.toolsets &&
           a.log_level == b.log_level;
}

}  // namespace

TEST_CASE("settings") {
    SUBCASE("are the shipped defaults for an empty file, for one of comments, and for no file") {
        for (auto const* text : {"", "\n", "# nothing\n", "listen:\n", "---\n"}) {
            auto const s = parse_settings(text, "berth.yaml");
            REQUIRE(s.has_value());
            CHECK(same(*s, Settings{}));
        }
        auto const none = config::load_settings(std::nullopt);
        REQUIRE(none.has_value());
        CHECK(same(*none, Settings{}));
    }
    SUBCASE("take every key") {
        auto const s = parse_settings(R"(
listen:
    address: 0.0.0.0
    port: 8443
    hosts: [tools.example.com, "[fd00::1]"]
    url: https://tools.example.com:8443
    origins: ["https://app.example.com"]
    tls_certificate: /etc/berth/cert.pem
    tls_key: /etc/berth/key.pem
templates_dir: /srv/templates
default_template: python-3.11
pools:
    python-3.11: {ready: 3, awake: 1}
limits: {memory: 512MiB, cpus: 0.5, pids: 64, disk: 1GiB}
max_limits:
    memory: 1GiB
max_workspaces: 7
max_sandboxes: 5
max_boots: 1
snapshots: {per_workspace: 3, max_bytes: 5GiB}
idle: {freeze_after: 500ms, hibernate_after: 1h, stop_after: 0, keep_alive: true}
hibernation: {disk: 1GiB, memory_ceiling: 512MiB}
network:
    max_allow: ["*.pypi.org", "example.com:8080"]
    insecure_private_addresses: ["10.0.5.0/24", "fd00::/8"]
previews: {domains: [shop.example.com, "*.apps.example.com"], trusted_proxies: [127.0.0.1/32], keep_awake: never, max_requests_total: 9000,
           max_waiting: 5, wake_timeout: 2m, answer_timeout: 30s, silence_timeout: 12h}
toolsets: [core]
log_level: debug
)", "berth.yaml");
        REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message()));
        CHECK(s->listen.address == "0.0.0.0");
        CHECK(s->listen.port == 8443);
        CHECK(s->listen.hosts.size() == 2);
        CHECK(s->listen.url == "https://tools.example.com:8443");
        CHECK(s->listen.tls_key == "/etc/berth/key.pem");
        REQUIRE(s->pools.size() == 1);
        CHECK(s->pools.at("python-3.11").ready == 3);
        CHECK(s->pools.at("python-3.11").awake == 1);
        CHECK(s->limits.memory_bytes == 512ull << 20);
        CHECK(s->limits.cpus == 0.5);
        CHECK(s->max_limits.memory_bytes == 1ull << 30);
        CHECK(s->max_limits.pids == 4096);
        CHECK(s->snapshots.per_workspace == 3);
        CHECK(s->snapshots.max_bytes == 5ull << 30);
        CHECK(s->idle.freeze_after.count() == 500);
        CHECK(s->idle.stop_after.count() == 0);
        CHECK(s->idle.hibernate_after == std::chrono::hours(1));
        CHECK(s->idle.keep_alive);
        CHECK(s->hibernation.disk_bytes == 1ull << 30);
        CHECK(s->hibernation.memory_ceiling == 512ull << 20);
        CHECK(s->network.max_allow.back() == "example.com:8080");
        CHECK(s->previews.domains.back() == "*.apps.example.com");
        CHECK(s->previews.trusted_proxies.front() == "127.0.0.1/32");
        CHECK(s->previews.keep_awake == "never");
        CHECK(s->previews.max_requests_total == 9000);
        CHECK(s->previews.max_waiting == 5);
        CHECK(s->previews.wake_timeout == std::chrono::minutes(2));
        CHECK(s->previews.answer_timeout == std::chrono::seconds(30));
        CHECK(s->previews.silence_timeout == std::chrono::hours(12));
        CHECK(s->toolsets == std::vector<std::string>{"core"});
    }
    SUBCASE("name file, line, key and expectation of a mistake") {
        struct {
            char const *text, *message;
        } const table[] = {
            {"listen:\n    port: 99999\n", "berth.yaml:2: listen.port: expected a whole number from 0 to 65535, not \"99999\""},
            {"listen:\n    prot: 1\n", "berth.yaml:2: listen.prot: there is no such key; the nearest is listen.port"},
            {"max_sandboxs: 4\n", "berth.yaml:1: max_sandboxs: there is no such key; the nearest is max_sandboxes"},
            {"listen.port: 4\n", "berth.yaml:1: listen.port: there is no such key; the nearest is listen.port"},
            {"listen: 7777\n", "berth.yaml:1: listen: expected keys with values below it"},
            {"max_boots: 1\nlog_level: info\nmax_boots: 2\n", "berth.yaml:3: max_boots: this key stands here twice"},
            {"max_boots:\n", "berth.yaml:1: max_boots: expected a whole number from 1 to 1000"},
            {"max_boots: 0\n", "berth.yaml:1: max_boots: expected a whole number from 1 to 1000, not \"0\""},
            {"max_boots: 1x\n", "berth.yaml:1: max_boots: expected a whole number from 1 to 1000, not \"1x\""},
            {"\nlimits:\n    memory: 1XB\n",
             "berth.yaml:3: limits.memory: expected a size such as 512MiB or 2GiB, not \"1XB\""},
            {"limits: {memory: 1MiB}\n", "berth.yaml:1: limits.memory: expected at least 64MiB, not \"1MiB\""},
            {"limits: {cpus: nan}\n",
             "berth.yaml:1: limits.cpus: expected a number of processors from 0.1 to 1024, not \"nan\""},
            {"limits: {cpus: 0.09}\n",
             "berth.yaml:1: limits.cpus: expected a number of processors from 0.1 to 1024, not \"0.09\""},
            {"limits: {pids: 63}\n", "berth.yaml:1: limits.pids: expected a whole number from 64 to 1000000, not \"63\""},
            {"max_limits: {pids: 16}\n", "berth.yaml:1: max_limits.pids: expected a whole number from 64 to 1000000, not \"16\""},
            {"limits: {disk: 31MiB}\n", "berth.yaml:1: limits.disk: expected at least 32MiB, not \"31MiB\""},
            {"hibernation: {disk: 32MiB}\n", "berth.yaml:1: hibernation.disk: expected at least 64MiB, not \"32MiB\""},
            {"limits: {memory: 9GiB}\n",
             "berth.yaml:1: limits.memory: expected no more than max_limits.memory (8GiB)"},
            {"max_limits: {pids: 100}\n", "berth.yaml:1: limits.pids: expected no more than max_limits.pids (100)"},
            {"idle:\n    keep_alive: maybe\n", "berth.yaml:2: idle.keep_alive: expected true or false, not \"maybe\""},
            {"hibernation: {memory_ceiling: 1MiB}\n",
             "berth.yaml:1: hibernation.memory_ceiling: expected at least 64MiB, not \"1MiB\""},
            {"idle: {freeze_after: 5}\n",
             "berth.yaml:1: idle.freeze_after: expected a time such as 500ms, 30s, 5m or 2h, not \"5\""},
            {"listen: {address: 0.0.0.0}\n",
             "berth.yaml:1: listen.address: expected a loopback address, or tls_certificate and tls_key: tokens would cross the "
             "network in the clear (listen.insecure_plain_http: true allows that)"},
            {"listen: {address: localhost}\n", "berth.yaml:1: listen.address: expected an IP address such as 127.0.0.1 or ::"},
            {"listen:\n    tls_key: /k\n", "berth.yaml:2: listen.tls_key: expected tls_certificate and tls_key together"},
            {"listen: {insecure_plain_http: yes}\n",
             "berth.yaml:1: listen.insecure_plain_http: expected true or false, not \"yes\""},
            {"listen:\n    hosts:\n    - a.example\n    - \"tools.example.com:8443\"\n",
             "berth.yaml:4: listen.hosts: expected host names such as tools.example.com, without a port, not "
             "\"tools.example.com:8443\""},
            {"listen: {hosts: [\"[::1]:80\"]}\n",
             "berth.yaml:1: listen.hosts: expected host names such as tools.example.com, without a port, not \"[::1]:80\""},
            {"listen: {url: tools.example.com}\n",
             "berth.yaml:1: listen.url: expected a URL such as https://preview.example.com, without a path, not "
             "\"tools.example.com\""},
            {"listen: {url: \"http://a.localhost:80\"}\n",
             "berth.yaml:1: listen.url: expected no name below that of previews: http://a.localhost:80"},
            {"\ntoolsets: [core, bogus]\n",
             "berth.yaml:2: toolsets: expected any of core, files, lifecycle, preview, servers, search, community, not \"bogus\""},
            {"toolsets: core\n", "berth.yaml:1: toolsets: expected a list such as [a, b]"},
            {"toolsets:\n    - core\n    - core\n", "berth.yaml:3: toolsets: expected each entry once, not \"core\""},
            {"network:\n  max_allow:\n  - ok.example\n  - http://x/\n",
             "berth.yaml:4: network.max_allow: expected *, or hosts such as pypi.org, *.example.com or example.com:8080, not "
             "\"http://x/\""},
            {"network: {insecure_private_addresses: [10.0.0.0]}\n",
             "berth.yaml:1: network.insecure_private_addresses: expected networks such as 10.0.5.0/24 or fd00:1::/64, not "
             "\"10.0.0.0\""},
            {"previews: {domains: [Shop.example.com]}\n",
             "berth.yaml:1: previews.domains: expected names such as shop.example.com or *.apps.example.com, in lower case, not "
             "\"Shop.example.com\""},
            {"previews: {domains: [127.0.0.1]}\n",
             "berth.yaml:1: previews.domains: expected names such as shop.example.com or *.apps.example.com, in lower case, not "
             "\"127.0.0.1\""},
            {"listen: {hosts: [tools.example.com]}\npreviews: {domains: ['*.example.com']}\n",
             "berth.yaml:2: previews.domains: expected no name of the server's own: tools.example.com"},
            {"pools:\n    base: {ready: 1, awake: 2}\n", "berth.yaml:2: pools.base.awake: expected no more than its ready (1)"},
            {"pools:\n    ../x: {ready: 1}\n",
             "berth.yaml:2: pools.../x: expected a name of a-z, 0-9, dot, hyphen and underscore, at most 64 long"},
            {"pools:\n    a.b:\n        redy: 1\n", "berth.yaml:3: pools.a.b.redy: there is no such key; the nearest is pools.NAME.ready"},
            {"max_sandboxes: 4\n", "berth.yaml:1: pools: expected at most max_sandboxes (4) sandboxes ready in all pools together, not 8"},
            {"templates_dir: here\n", "berth.yaml:1: templates_dir: expected an absolute path, not \"here\""},
            {"[a]\n", "berth.yaml:1: expected keys with values"},
            {"--- {}\n--- {}\n", "berth.yaml:2: expected one document"},
            {",0", "berth.yaml:1: expected one document"},
            {"? [a]\n: b\n", "berth.yaml:1: expected a plain key"},
            {"log_level: \xFF\n", "berth.yaml:1: expected UTF-8"},
        };
        for (auto const& row : table) {
            INFO(row.text);
            CHECK(failure(row.text) == row.message);
        }
    }
    SUBCASE("keep no more of a small stock awake than there is") {
        auto const s = parse_settings("pools:\n    base: {ready: 1}\n    none: {ready: 0}\n    some: {awake: 1}\n", "berth.yaml");
        REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message()));
        CHECK(s->pools.at("base").awake == 1);
        CHECK(s->pools.at("none").awake == 0);
        CHECK(s->pools.at("some").awake == 1);
    }
    SUBCASE("tell where a key stands, for those who find out what is wrong with its value") {
        auto const s = parse_settings("\npools:\n    nosuch: {ready: 1}\ndefault_template: python\n", "berth.yaml");
        REQUIRE(s.has_value());
        CHECK(s->where("pools.nosuch") == "berth.yaml:3: pools.nosuch: ");
        CHECK(s->where("default_template") == "berth.yaml:4: default_template: ");
        CHECK(s->where("toolsets") == "toolsets: ");
        CHECK_FALSE(s->given("toolsets"));
    }
    SUBCASE("tell the host of a URL") {
        CHECK(config::url_host("https://tools.example.com:8443") == "tools.example.com");
        CHECK(config::url_host("http://[::1]:80") == "[::1]");
        CHECK(config::url_host("http://[::1]") == "[::1]");
        CHECK(config::url_host("") == "");
    }
    SUBCASE("name the line of what is no YAML, and bound its size") {
        CHECK(failure("a: 1\nb: [\n").starts_with("berth.yaml:"));
        CHECK(failure("a: 1\n\tb: 2\n").find("not valid YAML") != std::string::npos);
        CHECK(failure(std::string(2 << 20, '#')) == "berth.yaml:1: expected at most 1 MiB");
        CHECK(failure(std::string(100'000, '[')).starts_with("berth.yaml:1: "));
    }
    SUBCASE("come from a file, and a missing one is named") {
        testing_support::TemporaryDirectory dir;
        auto const path = dir.path + "/berth.yaml";
        std::ofstream(path) << "max_boots: 3\n";
        auto const s = config::load_settings(path);
        REQUIRE(s.has_value());
        CHECK(s->max_boots == 3);
        auto const missing = config::load_settings(dir.path + "/none.yaml");
        REQUIRE_FALSE(missing.has_value());
        CHECK(missing.error().message().find("none.yaml") != std::string::npos);
    }
}

TEST_CASE("the example file") {
    SUBCASE("holds every key at its default") {
        auto const text = config::example_yaml();
        auto const s = parse_settings(text, "example.yaml");
        REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message()));
        CHECK(same(*s, Settings{}));
        for (auto const& key : config::known_keys()) {
            auto const last = key.key.substr(key.key.rfind('.') + 1);
            CHECK(text.find(last + ": " + key.default_value + "\n") != std::string::npos);
        }
    }
    SUBCASE("says what each key means, in lines that a terminal holds") {
        auto const text = config::example_yaml();
        std::string words = text;    // without its line ends
        for (std::size_t at; (at = words.find('\n')) != std::string::npos;)
            words.replace(at, std::min(words.find_first_not_of(" #", at + 1), words.size()) - at, " ");
        for (auto const& key : config::known_keys()) CHECK_MESSAGE(words.find(key.meaning) != std::string::npos, key.key);
        std::size_t width = 0;
        for (char const c : text) CHECK((width = c == '\n' ? 0 : width + 1) <= 100);
    }
}
