#include <config/minimums.hpp>
#include <config/settings.hpp>

#include <doctest/doctest.h>

using config::parse_duration;
using config::parse_size;

TEST_CASE("sizes") {
    SUBCASE("read binary and decimal units in any case") {
        struct {
            char const* text;
            std::uint64_t bytes;
        } const table[] = {{"0", 0},          {"1073741824", 1ull << 30}, {"10GiB", 10ull << 30}, {"512M", 512ull << 20},
                           {"1 kib", 1024},   {"2gb", 2'000'000'000},     {"3T", 3ull << 40},     {"7B", 7},
                           {"9223372036854775807", 9223372036854775807ull}};
        for (auto const& row : table) {
            INFO(row.text);
            auto const size = parse_size(row.text);
            REQUIRE(size.has_value());
            CHECK(*size == row.bytes);
        }
    }
    SUBCASE("refuse everything else with what was expected") {
        for (auto const* text : {"", "GiB", "-1", "+1", "1.5GiB", "1 Gi B", "10XB", "0x10", "9223372036854775808",
                                 "99999999999999999999", "8388608T", " 1", "1e3"}) {
            INFO(text);
            auto const size = parse_size(text);
            REQUIRE_FALSE(size.has_value());
            CHECK(base::is(size.error(), base::errc::invalid));
            CHECK(size.error().context.starts_with("expected a size such as 512MiB or 2GiB, not \""));
        }
    }
}

TEST_CASE("sizes in messages") {
    SUBCASE("are exact, in the largest unit that needs no fraction, and read back as what they were") {
        struct {
            std::uint64_t bytes;
            char const* text;
        } const table[] = {{0, "0B"},           {1500, "1500B"},        {1ull << 10, "1KiB"},  {64ull << 20, "64MiB"},
                           {1536ull << 20, "1536MiB"}, {8ull << 30, "8GiB"}, {1ull << 40, "1TiB"}, {(1ull << 40) + 1, "1099511627777B"}};
        for (auto const& row : table) {
            CHECK(config::show_size(row.bytes) == row.text);
            CHECK(parse_size(row.text).value() == row.bytes);
        }
    }
    SUBCASE("and numbers of processors have no zeroes behind them") {
        CHECK(config::show_number(2) == "2");
        CHECK(config::show_number(0.5) == "0.5");
        CHECK(config::show_number(config::kMinCpus) == "0.1");
        CHECK(config::show_number(100) == "100");
    }
}

TEST_CASE("times") {
    SUBCASE("read each unit, and zero without one") {
        struct {
            char const* text;
            long ms;
        } const table[] = {{"0", 0}, {"500ms", 500}, {"30s", 30'000}, {"5m", 300'000}, {"5 min", 300'000}, {"2h", 7'200'000},
                           {"1d", 86'400'000}};
        for (auto const& row : table) {
            INFO(row.text);
            auto const time = parse_duration(row.text);
            REQUIRE(time.has_value());
            CHECK(time->count() == row.ms);
        }
    }
    SUBCASE("refuse a bare number, whose unit nobody knows, and what no clock can count") {
        for (auto const* text : {"", "30", "s", "-5s", "1.5s", "5 weeks", "4000d", "99999999999999999999h"}) {
            INFO(text);
            CHECK_FALSE(parse_duration(text).has_value());
        }
    }
}
