#include <base/json.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using base::errc;
using base::Json;
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

TEST_CASE("json: what is dumped is what the library would write, and is read back as it was") {
    auto const like_library = [](Json const& value) {
        auto const text = base::dump(value);
        CHECK(text == value.dump(-1, ' ', false, Json::error_handler_t::strict));
        CHECK(base::parse_json(text).value() == value);
    };
    SUBCASE("values of each kind") {
        like_library({{"null", nullptr}, {"yes", true}, {"no", false}, {"least", INT64_MIN}, {"most", UINT64_MAX},
                      {"part", 0.1}, {"whole", 3.0}, {"small", 1e-300}, {"none", Json::object()}, {"empty", Json::array()},
                      {"list", {1, "two", {{"three", 3}}}}});
        like_library(nullptr);
    }
    SUBCASE("each character, at each place of the eight that are looked at together") {
        for (int c = 0; c < 128; ++c)
            for (std::size_t at = 0; at < 9; ++at) {
                std::string text(17, 'x');
                text[at] = static_cast<char>(c);
                like_library(text);
                like_library({{text, 1}});
            }
    }
    SUBCASE("text that is not ASCII") {
        for (char const* text : {"\u00e4", "gr\u00fc\u00dfe aus dem Norden", "\u20ac uro", "\U0001F600", "1234567\u00e4", "\u00e4\n\u00e4"})
            like_library(text);
    }
    SUBCASE("bytes that are no text are replaced one by one") {
        for (std::size_t at = 0; at < 9; ++at) {
            std::string text(9, 'x');
            text[at] = '\xC3';
            auto wanted = text;
            wanted.replace(at, 1, "\xEF\xBF\xBD");
            CHECK(base::dump(Json(text)) == "\"" + wanted + "\"");
        }
    }
}
