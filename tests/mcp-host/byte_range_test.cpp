#include <transfers.hpp>

#include <doctest/doctest.h>

using host::parse_range;

TEST_CASE("a Range header") {
    auto const range = [](char const* header, std::uint64_t size = 100) {
        auto const r = parse_range(header, size);
        REQUIRE(r.has_value());
        CHECK(!r->unsatisfiable);
        return std::pair(r->first, r->count);
    };
    using P = std::pair<std::uint64_t, std::uint64_t>;
    SUBCASE("names the first and the last byte, or what is left of them") {
        CHECK(range("bytes=0-0") == P{0, 1});
        CHECK(range("bytes=10-19") == P{10, 10});
        CHECK(range("bytes=90-") == P{90, 10});
        CHECK(range("bytes=90-1000") == P{90, 10});
        CHECK(range("bytes=-1") == P{99, 1});
        CHECK(range("bytes=-1000") == P{0, 100});
    }
    SUBCASE("asks for the whole file when it is one that we do not serve") {
        for (auto const* header : {"", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=5-4", "bytes=1",
                                   "bytes=99999999999999999999-", "bytes= 1-2", "bytes=--1", "bytes=0x1-2"}) {
            INFO(header);
            CHECK(!parse_range(header, 100).has_value());
        }
    }
    SUBCASE("behind the end is refused") {
        CHECK(parse_range("bytes=100-", 100)->unsatisfiable);
        CHECK(parse_range("bytes=0-0", 0)->unsatisfiable);
        CHECK(parse_range("bytes=-1", 0)->unsatisfiable);
        CHECK(parse_range("bytes=-0", 100)->unsatisfiable);
    }
}
