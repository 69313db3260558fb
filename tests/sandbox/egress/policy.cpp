#include <sandbox/egress.hpp>

#include <doctest/doctest.h>

using sandbox::EgressPolicy;

TEST_CASE("egress policy") {
    SUBCASE("allows what its patterns name, and nothing else") {
        struct {
            char const* pattern;
            char const* host;
            int port;
            bool allowed;
        } const table[] = {
            {"example.com", "example.com", 443, true},
            {"example.com", "EXAMPLE.com.", 80, true},
            {"Example.COM.", "example.com", 80, true},
            {"example.com", "example.com", 22, false},
            {"example.com", "www.example.com", 443, false},
            {"example.com", "badexample.com", 443, false},
            {"example.com:8080", "example.com", 8080, true},
            {"example.com:8080", "example.com", 443, false},
            {"*.example.com", "a.b.example.com", 443, true},
            {"*.example.com", "example.com", 443, false},
            {"*.example.com", "badexample.com", 443, false},
            {"*.example.com", ".example.com", 443, false},
            {"*.example.com:22", "git.example.com", 22, true},
            {"*", "anything.example", 443, true},
            {"*", "anything.example", 25, false},
            {"*:25", "anything.example", 25, true},
            {"*", "8.8.8.8", 443, false},
            {"*", "[2001:4860::8888]", 443, false},
            {"*.8", "8.8.8.8", 443, false},
            {"8.8.8.8", "8.8.8.8", 443, true},
            {"8.8.8.8:53", "8.8.8.8", 53, true},
            {"8.8.8.8", "8.8.8.9", 443, false},
            {"2001:4860:0::8888", "[2001:4860::8888]", 443, true},
            {"[2001:4860::8888]:8080", "2001:4860::8888", 8080, true},
            {"*", "127.1", 443, false},
            {"*", "0x7f000001", 443, false},
            {"*", "2130706433", 443, false},
            {"*", "127.0.0.1.", 443, false},
            {"*", "a..b", 443, false},
            {"*", "", 443, false},
            {"*", "fe80::1%lo", 443, false},
            {"*", "exa mple.com", 443, false},
        };
        for (auto const& row : table) {
            INFO(row.pattern, " ", row.host, ":", row.port);
            auto const policy = EgressPolicy::parse({row.pattern});
            if (std::string(row.pattern) == "*.8") {
                CHECK_FALSE(policy.has_value());
                continue;
            }
            REQUIRE(policy.has_value());
            CHECK(policy->allows(row.host, row.port) == row.allowed);
        }
    }
    SUBCASE("without patterns allows nothing") {
        auto const policy = EgressPolicy::parse({});
        REQUIRE(policy.has_value());
        CHECK_FALSE(policy->allows("example.com", 443));
    }
    SUBCASE("names the pattern that it does not take") {
        for (auto const* pattern : {"", "http://example.com", "example.com/", "*example.com", "a.*.com", "example.com:0",
                                    "example.com:65536", "example.com:", "example.com:8a", "**", "*.", "127.1", "1.2.3",
                                    "10.0.0.0/8", "[::1", "*.1.2.3.4", "exam ple.com", "-:", "a..b", "caf\xC3\xA9.fr"}) {
            INFO(pattern);
            auto const policy = EgressPolicy::parse({"good.example", pattern});
            REQUIRE_FALSE(policy.has_value());
            CHECK(base::is(policy.error(), base::errc::invalid));
            CHECK(policy.error().context.starts_with("\"" + std::string(pattern) + "\" is no host pattern: expected "));
        }
        CHECK_FALSE(EgressPolicy::parse(std::vector<std::string>(2000, "a.example")).has_value());
    }
}
