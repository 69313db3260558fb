#include <reach.hpp>

#include <doctest/doctest.h>

#include <algorithm>

namespace {

config::Settings::Listen listening(std::string const& yaml) {
    auto const s = config::parse_settings("listen: " + yaml + "\n", "berth.yaml");
    REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message()));
    return s->listen;
}

bool admits(config::Settings::Listen const& listen, std::string const& name) {
    auto const hosts = host::admitted_hosts(listen);
    return std::find(hosts.begin(), hosts.end(), name) != hosts.end();
}

}  // namespace

TEST_CASE("where a server is reached") {
    SUBCASE("on loopback, by its address") {
        CHECK(host::public_url(listening("{}"), 7777) == "http://127.0.0.1:7777");
        CHECK(host::public_url(listening("{address: \"::1\"}"), 80) == "http://[::1]:80");
        CHECK(host::unreachable(listening("{}")).empty());
    }
    SUBCASE("beyond it, by the first of its names") {
        auto const listen = listening(
            "{address: 0.0.0.0, hosts: [tools.example.com, other.example], tls_certificate: /c, tls_key: /k}");
        CHECK(host::public_url(listen, 8443) == "https://tools.example.com:8443");
        CHECK(admits(listen, "other.example"));
        CHECK(host::unreachable(listen).empty());
    }
    SUBCASE("behind a proxy, by the URL that the operator gives, whose host is admitted") {
        auto const listen = listening("{url: \"https://tools.example.com:444\"}");
        CHECK(host::public_url(listen, 7777) == "https://tools.example.com:444");
        CHECK(host::own_url(listen, 7777) == "http://127.0.0.1:7777");
        CHECK(admits(listen, "tools.example.com"));
        CHECK(admits(listen, "localhost"));
    }
    SUBCASE("by nobody, which the operator is told with what to write") {
        CHECK(host::unreachable(listening("{address: 0.0.0.0, insecure_plain_http: true}")).find("hosts: [tools.example.com]") !=
              std::string::npos);
        CHECK(host::unreachable(listening("{address: 10.0.0.5, insecure_plain_http: true}")).find("hosts: [10.0.0.5]") !=
              std::string::npos);
        CHECK(host::unreachable(listening("{address: 10.0.0.5, url: \"https://t.example\", insecure_plain_http: true}")).empty());
    }
}
