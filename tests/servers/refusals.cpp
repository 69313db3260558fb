#include "refusals.hpp"

#include <doctest/doctest.h>

using servers::Refusals;

TEST_CASE("refused destinations") {
    Refusals r;

    SUBCASE("none: nothing to say") { CHECK(r.hint() == ""); }
    SUBCASE("are named, with what to do") {
        r.add("registry.npmjs.org", 443, "");
        CHECK(r.hint() ==
              "; it tried registry.npmjs.org:443, which is not allowed: add it to "
              "sandbox.network.allowedDomains");
        r.add("api.example.com", 8443, "");
        CHECK(r.hint() ==
              "; it tried registry.npmjs.org:443 and api.example.com:8443, which are not allowed: add what "
              "it needs of "
              "them to sandbox.network.allowedDomains");
    }
    SUBCASE("one that is allowed and cannot be reached says why") {
        r.add("api.example.com", 443, "no such host");
        CHECK(r.hint() == "; it could not reach api.example.com:443: no such host");
        r.add("other.example.com", 443, "");
        CHECK(r.hint().find("it tried other.example.com:443, which is not allowed") != std::string::npos);
        CHECK(r.hint().ends_with("; it could not reach api.example.com:443: no such host"));
    }
    SUBCASE("are the last few, each once, however many a server tries") {
        for (int i = 0; i < 1000; ++i) r.add("h" + std::to_string(i) + ".example.com", 443, "");
        r.add("h995.example.com", 443, "");
        REQUIRE(r.last().size() == 8);
        CHECK(r.last().front().host == "h992.example.com:443");
        CHECK(r.last().back().host == "h995.example.com:443");
        CHECK(r.last()[3].host == "h996.example.com:443");
    }
    SUBCASE("are cut, and show no invisible characters") {
        r.add(std::string(5000, 'a'), 443, std::string(5000, 'b'));
        CHECK(r.last()[0].host.size() < 300);
        CHECK(r.last()[0].why.size() <= 200);
        r.add("exa\x1b[31mmple\xe2\x80\xae.com\xff", 443, "");
        CHECK(r.last()[1].host.find('\x1b') == std::string::npos);
        CHECK(r.last()[1].host.find("\xe2\x80\xae") == std::string::npos);
        CHECK(r.last()[1].host.find('\xff') == std::string::npos);
    }
    SUBCASE("are of one run") {
        r.add("example.com", 443, "");
        r.clear();
        CHECK(r.hint() == "");
    }
}
