#include "tree.hpp"
#include <base/hash.hpp>
#include <base/json.hpp>
#include <workspace/files.hpp>

#include <doctest/doctest.h>

using namespace workspace;
using base::errc;

TEST_CASE("read_text") {
    Tree t;
    SUBCASE("numbers the lines and tells the whole file's hash") {
        t.put("a", "one\ntwo\nthree");
        auto const r = read_text(t.root, "a", 0, 0).value();
        CHECK(r.text == "1\tone\n2\ttwo\n3\tthree");
        CHECK(r.total_lines == 3);
        CHECK(r.first_line == 1);
        CHECK(r.lines == 3);
        CHECK_FALSE(r.next_offset);
        CHECK(r.bytes == 13);
        CHECK(r.sha256 == base::sha256_hex("one\ntwo\nthree"));
        CHECK_FALSE(r.binary);
    }
    SUBCASE("gives an exact range and where it goes on") {
        t.put("a", "1\n2\n3\n4\n");
        auto const r = read_text(t.root, "a", 2, 2).value();
        CHECK(r.text == "2\t2\n3\t3\n");
        CHECK(r.next_offset == 4);
        CHECK(r.total_lines == 4);
    }
    SUBCASE("takes an empty file") {
        t.put("a", "");
        for (std::uint64_t const offset : {0, 1}) {
            auto const r = read_text(t.root, "a", offset, 0).value();
            CHECK(r.text.empty());
            CHECK(r.total_lines == 0);
            CHECK_FALSE(r.next_offset);
        }
    }
    SUBCASE("refuses an offset behind the end, and says where that is") {
        t.put("a", "x\ny\n");
        auto const r = read_text(t.root, "a", 3, 0);
        REQUIRE_FALSE(r);
        CHECK(base::is(r.error(), errc::invalid));
        CHECK(contains(r.error().message(), "has 2 lines"));
    }
    SUBCASE("gives a long file page by page, each line once") {
        std::string all;
        for (int i = 0; i < 5000; ++i) all += "line " + std::to_string(i) + "\n";
        t.put("a", all);
        std::string joined;
        std::uint64_t offset = 0;
        int pages = 0;
        do {
            auto const r = read_text(t.root, "a", offset, 0).value();
            CHECK(r.text.size() <= kMaxTextBytes);
            CHECK(r.lines <= 2000);
            std::istringstream lines(r.text);
            for (std::string line; std::getline(lines, line);)
                joined += line.substr(line.find('\t') + 1) + "\n";
            offset = r.next_offset.value_or(0);
            ++pages;
        } while (offset != 0 && pages < 100);
        CHECK(joined == all);
        CHECK(pages >= 3);
    }
    SUBCASE("refuses an exact range that is too large instead of cutting it") {
        t.put("a", std::string(30'000, 'x') + "\n" + std::string(30'000, 'y') + "\n");
        auto const r = read_text(t.root, "a", 1, 2);
        REQUIRE_FALSE(r);
        CHECK(base::is(r.error(), errc::limit));
        CHECK(contains(r.error().message(), "fewer lines"));
        CHECK(read_text(t.root, "a", 2, 1).has_value());
        CHECK(read_text(t.root, "a", 1, UINT64_MAX).error().code == make_error_code(errc::limit));
    }
    SUBCASE("cuts an endless line and goes on behind it") {
        t.put("a", std::string(1 << 20, 'x') + "\nnext\n");
        auto const r = read_text(t.root, "a", 0, 0).value();
        CHECK(r.text.size() <= kMaxTextBytes);
        CHECK(contains(r.text, "[line cut: it has 1048576 bytes"));
        REQUIRE(r.next_offset == 2);
        CHECK(read_text(t.root, "a", 2, 0).value().text == "2\tnext\n");
    }
    SUBCASE("replaces what is not UTF-8, within the limit even when all of it grows") {
        t.put("a", "caf\xe9\n");
        CHECK(read_text(t.root, "a", 0, 0).value().text == "1\tcaf\xEF\xBF\xBD\n");
        t.put("b", std::string(40'000, '\xff'));
        auto const r = read_text(t.root, "b", 0, 0).value();
        CHECK(r.text.size() <= kMaxTextBytes);
        CHECK(base::valid_utf8(r.text));
    }
    SUBCASE("keeps CRLF, so that what was read can be edited") {
        t.put("a", "x\r\ny\r\n");
        CHECK(read_text(t.root, "a", 0, 0).value().text == "1\tx\r\n2\ty\r\n");
    }
    SUBCASE("summarizes a binary file") {
        t.put("a", std::string("ab\0cd", 5));
        auto const r = read_text(t.root, "a", 0, 0).value();
        CHECK(r.binary);
        CHECK(r.text == "a is a binary file of 5 bytes");
        CHECK(r.sha256.size() == 64);
    }
    SUBCASE("knows images by their content, not by their name") {
        std::string const png = std::string("\x89PNG\r\n\x1a\n", 8) + std::string("\0\0\0\rIHDR", 8);
        std::string const webp = std::string("RIFF\x10\0\0\0WEBP", 12);
        for (auto const& [bytes, type] : {std::pair<std::string, std::string>(png, "image/png"),
                                          {"\xff\xd8\xff\xe0", "image/jpeg"},
                                          {"GIF89a....", "image/gif"},
                                          {webp, "image/webp"}}) {
            t.put("a.txt", bytes);
            auto const r = read_text(t.root, "a.txt", 0, 0).value();
            CHECK(r.image_type == type);
            CHECK(r.image == bytes);
            CHECK(r.text.empty());
        }
        t.put("b.png", "hello\n");
        CHECK(read_text(t.root, "b.png", 0, 0).value().text == "1\thello\n");
        t.put("big", png + std::string(kMaxImageBytes, 'x'));
        auto const big = read_text(t.root, "big", 0, 0).value();
        CHECK(big.image.empty());
        CHECK(big.binary);
    }
    SUBCASE("refuses what is larger than file tools handle, and says what to do") {
        t.put("a", "");
        std::filesystem::resize_file(t.path + "/a", kMaxFileBytes + 1);
        auto const r = read_text(t.root, "a", 0, 0);
        REQUIRE_FALSE(r);
        CHECK(base::is(r.error(), errc::limit));
        CHECK(contains(r.error().message(), "run_command"));
    }
}

TEST_CASE("write_file") {
    Tree t;
    auto const write = [&](std::string const& path, std::string const& content,
                           WriteMode mode = WriteMode::overwrite,
                           std::optional<std::string> const& sha = std::nullopt) {
        return write_file(t.root, path, content, mode, sha);
    };
    SUBCASE("creates a file with its parents and says so") {
        auto const w = write("a/b/c", "hello").value();
        CHECK(w.created);
        CHECK(w.bytes == 5);
        CHECK(w.sha256 == base::sha256_hex("hello"));
        CHECK(t.get("a/b/c") == "hello");
        CHECK_FALSE(write("a/b/c", "").value().created);
        CHECK(t.get("a/b/c").empty());
    }
    SUBCASE("keeps the mode of a file it overwrites and leaves nothing else behind") {
        t.put("run", "old");
        ::chmod((t.path + "/run").c_str(), 0750);
        CHECK(write("run", "new").has_value());
        CHECK((std::filesystem::status(t.path + "/run").permissions() & std::filesystem::perms::mask) ==
              std::filesystem::perms(0750));
        CHECK(std::distance(std::filesystem::directory_iterator(t.path), {}) == 1);
    }
    SUBCASE("appends and reports the whole file") {
        CHECK(write("log", "one\n", WriteMode::append).value().created);
        auto const w = write("log", "two\n", WriteMode::append).value();
        CHECK_FALSE(w.created);
        CHECK(w.bytes == 8);
        CHECK(w.sha256 == base::sha256_hex("one\ntwo\n"));
        CHECK(t.get("log") == "one\ntwo\n");
    }
    SUBCASE("refuses when the content is not the one the caller saw, and names the current one") {
        t.put("a", "mine");
        auto const stale = write("a", "new", WriteMode::overwrite, base::sha256_hex("theirs"));
        REQUIRE_FALSE(stale);
        CHECK(base::is(stale.error(), errc::stale));
        CHECK(contains(stale.error().message(), base::sha256_hex("mine")));
        CHECK(t.get("a") == "mine");
        CHECK(write("a", "x", WriteMode::append, base::sha256_hex("theirs")).error().code ==
              make_error_code(errc::stale));
        CHECK(t.get("a") == "mine");
        CHECK(write("a", "new", WriteMode::overwrite, base::sha256_hex("mine")).has_value());
        CHECK(t.get("a") == "new");
    }
    SUBCASE("an empty if_sha256 wants no file, any other wants one") {
        CHECK(write("a", "1", WriteMode::overwrite, "").value().created);
        auto const again = write("a", "2", WriteMode::overwrite, "");
        REQUIRE_FALSE(again);
        CHECK(base::is(again.error(), errc::stale));
        CHECK(contains(again.error().message(), base::sha256_hex("1")));
        CHECK(write("b", "2", WriteMode::overwrite, base::sha256_hex("1")).error().code ==
              make_error_code(errc::stale));
        CHECK_FALSE(std::filesystem::exists(t.path + "/b"));
    }
    SUBCASE("refuses too much, also as the sum of appends") {
        CHECK(base::is(write("a", std::string(kMaxFileBytes + 1, 'x')).error(), errc::limit));
        t.put("b", "");
        std::filesystem::resize_file(t.path + "/b", kMaxFileBytes - 1);
        CHECK(base::is(write("b", "xy", WriteMode::append).error(), errc::limit));
        CHECK(std::filesystem::file_size(t.path + "/b") == kMaxFileBytes - 1);
    }
    SUBCASE("a directory is not overwritten, and a file is not a directory") {
        std::filesystem::create_directory(t.path + "/d");
        t.put("f", "x");
        for (auto const mode : {WriteMode::overwrite, WriteMode::append}) {
            CHECK_FALSE(write("d", "x", mode));
            CHECK_FALSE(write("f/x", "x", mode));
        }
        CHECK(std::filesystem::is_directory(t.path + "/d"));
        CHECK(t.get("f") == "x");
    }
}
