#include "names.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

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

TEST_CASE("public names by table") {
    struct Row {
        std::string server, tool;
        std::size_t limit;
        std::string expected;  // ending in '#': and then the hash
    };
    std::string const ten(10, 'n'), thirty_one(31, 't');
    for (auto const& [server, tool, limit, expected] : std::initializer_list<Row>{
             {"a", "b", 40, "a__b"},
             {"git", "git_log", 64, "git__git_log"},
             {"n", thirty_one + "123456", 40, "n__" + thirty_one + "123456"},         // 40: fits
             {"n", thirty_one + "1234567", 40, "n__" + thirty_one.substr(0, 30) + "_#"},  // 41: cut
             {"n", thirty_one + "1234567", 64, "n__" + thirty_one + "1234567"},
             {"n", thirty_one + thirty_one, 64, "n__" + thirty_one + thirty_one.substr(0, 23) + "_#"},
             {ten, "trigger-long-running-operation-now", 40, ten + "__trigger-long-running_#"},  // no '-' before '_'
             {"a b", "c", 40, "a_b__c_#"},
             {"a@b/c", "d", 40, "a_b_c__d_#"},
             {"a", "b.c", 40, "a__b_c_#"},
             {"a", "b__c", 40, "a__b_c_#"},
             {"a_", "b", 40, "a__b_#"},
             {"a", "_b", 40, "a__b_#"},
             {"a", "b\n\xE2\x80\x8B", 40, "a__b_#"},
             {"a", "", 40, "a__"},
         }) {
        auto const name = public_name(server, tool, limit);
        INFO(server << " " << tool << " " << limit << " " << name);
        CHECK(name.size() <= limit);
        if (!expected.ends_with('#')) {
            CHECK(name == expected);
            continue;
        }
        auto const head = expected.substr(0, expected.size() - 1);
        CHECK(name.substr(0, head.size()) == head);
        CHECK(name.size() == head.size() + 6);
        CHECK(name.find_first_not_of("0123456789abcdef", head.size()) == std::string::npos);
    }
    SUBCASE("whatever two servers and tools are called, they do not meet") {
        std::set<std::string> seen;
        std::size_t count = 0;
        for (auto const* server : {"a", "a_", "a_b", "a__b", "a b", "a.b", "a-b", "A"})
            for (auto const* tool : {"b", "_b", "b_", "b__c", "b c", "b.c", "b-c", "B", "b_c"}) {
                seen.insert(public_name(server, tool, 40));
                seen.insert(public_name(server, tool + std::string(80, 'x'), 40));
                count += 2;
            }
        CHECK(seen.size() == count);
    }
    SUBCASE("berth's own tools have no \"__\" in their names, so that none of these is one of them") {
        for (auto const* server : {"run", "run_", "workspace", "_", ""})
            CHECK(public_name(server, "command", 40).find("__") != std::string::npos);
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
