#include <doctest/doctest.h>

#include <media_type.hpp>

using host::media_type;
using namespace std::string_view_literals;

TEST_CASE("media types") {
    SUBCASE("text goes by its name, and is plain without one that says more") {
        CHECK(media_type("src/a.py", "print(1)\n").name == "text/x-python");
        CHECK(media_type("data.v2.csv", "a,b\n").name == "text/csv");
        CHECK(media_type("Makefile", "all:\n").name == "text/plain");
        CHECK(media_type("dir.csv/notes", "x").name == "text/plain");
        CHECK(media_type("empty", "").text);
    }
    SUBCASE("what holds a zero byte or is not UTF-8 is no text, whatever its name") {
        CHECK_FALSE(media_type("a.txt", "a\0b"sv).text);
        CHECK_FALSE(media_type("a.md", "\xff\xfe").text);
        CHECK(media_type("a.md", "\xff\xfe").name == "application/octet-stream");
        CHECK(media_type("a.zip", "PK\3\4\xff").name == "application/zip");
    }
    SUBCASE("images go by their content") {
        auto const png = media_type("holiday.txt", "\x89PNG\r\n\x1a\n...");
        CHECK(png.name == "image/png");
        CHECK_FALSE(png.text);
        CHECK(media_type("fake.png", "no picture").name == "text/plain");
    }
}
