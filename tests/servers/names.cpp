#include "names.hpp"

#include <doctest/doctest.h>

using servers::matches_pattern;
using servers::public_name;

TEST_CASE("public names") {
    SUBCASE("are server__tool where that fits") {
        CHECK(public_name("git", "git_status", 40) == "git__git_status");
        CHECK(public_name("notion", "API-get-user", 40) == "notion__API-get-user");
    }
    SUBCASE("never exceed their limit, and stay different when cut") {
        std::string const head(60, 'a');
        auto const one = public_name("server", head + "1", 40), two = public_name("server", head + "2", 40);
        CHECK(one.size() <= 40);
        CHECK(one != two);
        CHECK(one.starts_with("server__aaa"));
        CHECK(public_name(std::string(200, 's'), std::string(200, 't'), 64).size() <= 64);
        CHECK(public_name(std::string(200, 's'), "t", 1).size() <= 20);
    }
    SUBCASE("hold nothing that a client refuses, and still tell tools apart") {
        auto const dotted = public_name("my server", "a.b/c", 40),
                   plain = public_name("my_server", "a_b_c", 40);
        CHECK(dotted != plain);
        CHECK(dotted.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZ-") ==
              std::string::npos);
        // Not "a" with the tool "b__c" and "a__b" with the tool "c" under one name.
        CHECK(public_name("a", "b__c", 40) != public_name("a__b", "c", 40));
        CHECK(public_name("a_", "b", 40) != public_name("a", "_b", 40));
    }
    SUBCASE("depend on nothing but server and tool") {
        CHECK(public_name("x", "a.b", 40) == public_name("x", "a.b", 40));
    }
}

TEST_CASE("names that several claim") {
    servers::NameTable table;
    table.claim("a__b", "a/b");
    table.claim("c__d", "c/d");
    table.claim("c__d", "c/d.");
    CHECK(table.sole("a__b"));
    CHECK_FALSE(table.sole("c__d"));
    CHECK_FALSE(table.sole("unknown"));
    REQUIRE(table.collisions().size() == 1);
    CHECK(table.collisions()[0].claimants == std::vector<std::string>{"c/d", "c/d."});
}

TEST_CASE("patterns") {
    CHECK(matches_pattern("*", ""));
    CHECK(matches_pattern("git_*", "git_log"));
    CHECK(matches_pattern("*_log", "git_log"));
    CHECK(matches_pattern("g*_l*g", "git_log"));
    CHECK(matches_pattern("git_log", "git_log"));
    CHECK_FALSE(matches_pattern("git_log", "git_logs"));
    CHECK_FALSE(matches_pattern("", "x"));
    CHECK_FALSE(matches_pattern("a*b*c", std::string(10'000, 'b')));
}
