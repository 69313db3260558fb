#include <config/listen.hpp>

#include <doctest/doctest.h>

#include <string>

using config::ListenAddress;
using config::parse_listen;

TEST_CASE("--listen") {
    SUBCASE("takes an address and a port") {
        struct {
            char const* text;
            ListenAddress is;
        } const table[] = {{"127.0.0.1:7777", {"127.0.0.1", 7777}}, {"0.0.0.0:80", {"0.0.0.0", 80}},
                           {"[::1]:7777", {"::1", 7777}},           {"[::]:443", {"::", 443}},
                           {"[2001:DB8::0:1]:1", {"2001:db8::1", 1}}, {"localhost:8080", {"127.0.0.1", 8080}},
                           {"127.0.0.1:0", {"127.0.0.1", 0}},       {"10.0.0.5:65535", {"10.0.0.5", 65535}}};
        for (auto const& row : table) {
            INFO(row.text);
            auto const listen = parse_listen(row.text);
            REQUIRE(listen.has_value());
            CHECK(*listen == row.is);
        }
    }
    SUBCASE("refuses everything else, and says what was expected") {
        constexpr char const *form = "expected ADDR:PORT such as 127.0.0.1:7777 or [::1]:7777",
                             *brackets = "expected an IPv6 address in brackets such as [::1]:7777",
                             *port = "expected a port from 0 to 65535 behind the address";
        struct {
            std::string text;
            char const* expected;
        } const table[] = {
            {"", form},
            {"7777", form},
            {"127.0.0.1", form},
            {":7777", form},
            {"*:7777", form},
            {"tools.example.com:7777", form},
            {"Localhost:7777", form},
            {"127.1:7777", form},
            {"0x7f.0.0.1:7777", form},
            {"127.0.0.1.:7777", form},
            {"127.0.0.256:7777", form},
            {" 127.0.0.1:7777", form},
            {"http://127.0.0.1:7777", form},
            {"::1:7777", brackets},
            {"::1", brackets},
            {"2001:db8::1:7777", brackets},
            {"::1:port", brackets},
            {"127.0.0.1:80:80", port},
            {"[::1]", form},
            {"[::1:7777", form},
            {"[::1]7777", form},
            {"[]:7777", form},
            {"[127.0.0.1]:7777", form},
            {"[localhost]:7777", form},
            {"[[::1]]:7777", form},
            {"[::1]x:7777", form},
            {"127.0.0.1:", port},
            {"127.0.0.1:65536", port},
            {"127.0.0.1:99999999999999999999", port},
            {"127.0.0.1:-1", port},
            {"127.0.0.1:+80", port},
            {"127.0.0.1: 80", port},
            {"127.0.0.1:80 ", port},
            {"127.0.0.1:http", port},
            {"127.0.0.1:0x50", port},
            {"127.0.0.1:77x", port},
            {"[::1]:", port},
            {"[::1]:7777/", port},
            {std::string("127.0.0.1\0:80", 13), form},
            {std::string("127.0.0.1:80\0", 13), form},
        };
        for (auto const& row : table) {
            INFO(row.text);
            auto const listen = parse_listen(row.text);
            REQUIRE_FALSE(listen.has_value());
            CHECK(base::is(listen.error(), base::errc::invalid));
            CHECK(listen.error().context == std::string(row.expected) + ", not \"" + row.text + "\"");
        }
    }
    SUBCASE("quotes no more than the beginning of what it refuses") {
        CHECK(parse_listen(std::string(1000, 'a')).error().context.size() < 150);
    }
}

TEST_CASE("loopback addresses") {
    SUBCASE("are those that only this machine reaches, however they are written") {
        for (auto const* address : {"127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"})
            CHECK_MESSAGE(config::is_loopback(address), address);
    }
    SUBCASE("are no others, and no names that somebody else could answer for") {
        for (auto const* address : {"", "0.0.0.0", "::", "10.0.0.5", "128.0.0.1", "::2", "::ffff:10.0.0.5", "[::1]", "localhost.example.com",
                                    "127.0.0.1.example.com", "127.0.0.1:80", "localhost."})
            CHECK_FALSE_MESSAGE(config::is_loopback(address), address);
        CHECK_FALSE(config::is_loopback(std::string_view("127.0.0.1\0.example", 18)));
    }
}
