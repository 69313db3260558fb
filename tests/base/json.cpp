#include <base/json.hpp>

#include <doctest/doctest.h>

using base::errc;
using base::parse_json;

TEST_CASE("strict JSON") {
    SUBCASE("takes what RFC 8259 allows") {
        for (std::string const text :
             {"null", " true ", "0", "-0", "-1.5e+10", "\"\"", "[]", "{}", "[1,\"a\",{\"b\":[null]}]", "\"\\u0041\\ud83d\\ude00\"",
              "\"\xF0\x9F\x98\x80\"", "{\"a\":{\"a\":1},\"b\":{\"a\":2}}", "18446744073709551615", "\t\r\n[1]\n"}) {
            INFO(text);
            auto const value = parse_json(text);
            REQUIRE(value.has_value());
            CHECK(*value == base::Json::parse(text));
        }
    }
    SUBCASE("refuses everything else") {
        std::string const table[] = {"",
                                     " ",
                                     "nul",
                                     "True",
                                     "01",
                                     "+1",
                                     ".5",
                                     "1.",
                                     "1e",
                                     "0x10",
                                     "NaN",
                                     "Infinity",
                                     "-",
                                     "'a'",
                                     "\"a",
                                     "\"\\x41\"",
                                     "\"\\ud800\"",
                                     "\"\\udc00\\ud800\"",
                                     "\"tab\there\"",
                                     std::string("\"nul\0\"", 6),
                                     "\"\xFF\"",
                                     "\"\xC0\x80\"",
                                     "\"\xED\xA0\x80\"",
                                     "\"\xF4\x90\x80\x80\"",
                                     "\"\xE2\x82\"",
                                     "[1,]",
                                     "[,1]",
                                     "[1 2]",
                                     "{\"a\":1,}",
                                     "{\"a\" 1}",
                                     "{a:1}",
                                     "{\"a\":1,\"a\":1}",
                                     "[{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}]",
                                     "{\"a\":1,\"\\u0061\":2}",
                                     "[1]]",
                                     "{} {}",
                                     "1 2",
                                     "[1] x",
                                     "// c\n1",
                                     "/* c */ 1",
                                     "[",
                                     "{\"a\":"};
        for (auto const& text : table) {
            INFO(text);
            auto const value = parse_json(text);
            REQUIRE_FALSE(value.has_value());
            CHECK(is(value.error(), errc::invalid));
            CHECK_FALSE(value.error().context.empty());
        }
    }
    SUBCASE("bounds size and depth before it builds anything large") {
        auto const nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
        CHECK(parse_json(nested(64)).has_value());
        auto const deep = parse_json(nested(65));
        REQUIRE_FALSE(deep.has_value());
        CHECK(is(deep.error(), errc::limit));
        auto const endless = parse_json(std::string(1'000'000, '['));
        REQUIRE_FALSE(endless.has_value());
        CHECK(is(endless.error(), errc::limit));
        std::string objects;
        for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
        CHECK_FALSE(parse_json(objects).has_value());
        auto const large = parse_json("\"" + std::string(100, 'x') + "\"", {100, 64});
        REQUIRE_FALSE(large.has_value());
        CHECK(is(large.error(), errc::limit));
    }
    SUBCASE("keeps the parents of many children in place") {
        std::string text = "[";
        for (int i = 0; i < 1000; ++i) text += (i ? ",{\"k\":[" : "{\"k\":[") + std::to_string(i) + "]}";
        auto const value = parse_json(text + "]");
        REQUIRE(value.has_value());
        CHECK((*value)[999]["k"][0] == 999);
    }
}

// The JSON library takes a NUL for the end and ignores what follows.
TEST_CASE("strict JSON does not end at a NUL") {
    for (auto const& text : {std::string("1\0", 2), std::string("{}\0{\"a\":1}", 10)}) CHECK_FALSE(parse_json(text).has_value());
}

TEST_CASE("text for JSON") {
    SUBCASE("is well-formed UTF-8 or becomes it") {
        struct {
            std::string bytes, text;
        } const table[] = {{"", ""},
                           {"plain", "plain"},
                           {"\xC3\xA9", "\xC3\xA9"},
                           {"\xFF", "\xEF\xBF\xBD"},
                           {"a\xC3", "a\xEF\xBF\xBD"},
                           {"\xE2\x82z", "\xEF\xBF\xBD\xEF\xBF\xBDz"},
                           {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
                           {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"}};
        for (auto const& row : table) {
            CHECK(base::valid_utf8(row.bytes) == (row.bytes == row.text));
            CHECK(base::to_utf8(row.bytes) == row.text);
            CHECK(base::valid_utf8(base::to_utf8(row.bytes)));
        }
    }
    SUBCASE("is dumped without throwing") {
        CHECK(base::dump(base::Json("a\xFF")) == "\"a\xEF\xBF\xBD\"");
        CHECK(base::dump(base::Json{{"a", 1}}) == "{\"a\":1}");
    }
}
