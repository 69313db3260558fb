#include "tree.hpp"
#include <base/hash.hpp>
#include <workspace/files.hpp>

#include <doctest/doctest.h>

using namespace workspace;
using base::errc;

namespace {

std::string edited(std::string text, std::vector<Edit> const& edits) {
    int n = 0;
    return apply_edits(std::move(text), edits, n).value();
}

std::string miss(std::string const& text, std::string const& wanted) {
    int n = 0;
    auto const r = apply_edits(text, {{wanted, "something new", false}}, n);
    REQUIRE_FALSE(r);
    CHECK(base::is(r.error(), errc::not_found));
    return r.error().message();
}

}  // namespace

TEST_CASE("apply_edits") {
    int n = 0;
    SUBCASE("applies edits in order, each to the result of those before") {
        CHECK(edited("a b", {{"a", "x", false}, {"x b", "done", false}}) == "done");
    }
    SUBCASE("replaces all only when asked, and counts") {
        CHECK(apply_edits("a a a", {{"a", "aa", true}}, n).value() == "aa aa aa");
        CHECK(n == 3);
    }
    SUBCASE("takes new text literally") {
        CHECK(edited("a", {{"a", "$1 \\0 & %s", false}}) == "$1 \\0 & %s");
    }
    SUBCASE("deletes") { CHECK(edited("abc", {{"b", "", false}}) == "ac"); }
    SUBCASE("refuses an ambiguous edit and lists the lines") {
        auto const r = apply_edits("x\ny\nx\n", {{"x", "z", false}}, n);
        REQUIRE_FALSE(r);
        CHECK(base::is(r.error(), errc::invalid));
        CHECK(contains(r.error().message(), "occurs 2 times, on lines 1, 3"));
        CHECK(contains(apply_edits("aaa", {{"aa", "b", false}}, n).error().message(), "occurs 2 times"));
    }
    SUBCASE("lists a bounded number of lines") {
        std::string many;
        for (int i = 0; i < 100'000; ++i) many += "x\n";
        auto const r = apply_edits(many, {{"x", "z", false}}, n);
        CHECK(contains(r.error().message(), "more than 20 times"));
        CHECK(r.error().message().size() < 500);
    }
    SUBCASE("refuses empty, equal and no edits") {
        CHECK(base::is(apply_edits("a", {{"", "b", false}}, n).error(), errc::invalid));
        CHECK(base::is(apply_edits("a", {{"a", "a", false}}, n).error(), errc::invalid));
        CHECK(base::is(apply_edits("a", {}, n).error(), errc::invalid));
    }
    SUBCASE("names the edit that failed and says that none was made") {
        auto const r = apply_edits("alpha\nbeta\n", {{"alpha", "x", false}, {"gamma", "y", false}}, n);
        REQUIRE_FALSE(r);
        CHECK(contains(r.error().message(), "edit 2 of 2"));
        CHECK(contains(r.error().message(), "No edit was made"));
        CHECK(n == 0);
    }
    SUBCASE("refuses a result that is too large before making it") {
        auto const r = apply_edits(std::string(10'000, 'a'), {{"a", std::string(1 << 20, 'b'), true}}, n);
        CHECK(base::is(r.error(), errc::limit));
    }
    SUBCASE("takes texts built to make searches slow") {
        std::string const text(8 << 20, 'a');
        CHECK_FALSE(apply_edits(text, {{std::string(1 << 20, 'a') + "b", "x", false}}, n));
        CHECK(apply_edits(text, {{std::string(100, 'a'), "", true}}, n).has_value());
    }
}

TEST_CASE("a missed edit says what is nearest") {
    std::string const file = "def one():\n    return 1\n\ndef two():\n\treturn 2\n";
    SUBCASE("tabs for spaces") {
        auto const m = miss(file, "def two():\n    return 2\n");
        CHECK(contains(m, "lines are 4 to 5"));
        CHECK(contains(m, "line 5: the file is indented with tabs, old_string with spaces"));
        CHECK(contains(m, "5\t\treturn 2"));
    }
    SUBCASE("spaces for tabs") {
        CHECK(contains(miss(file, "def one():\n\treturn 1\n"), "indented with spaces, old_string with tabs"));
    }
    SUBCASE("another depth") {
        CHECK(contains(miss(file, "def one():\n  return 1\n"), "the file has 4 characters, old_string 2"));
    }
    SUBCASE("trailing white space") {
        CHECK(contains(miss("a = 1  \nb = 2\n", "a = 1\nb = 2\n"),
                       "line 1: the file has trailing white space"));
        CHECK(contains(miss("a = 1\nb = 2\n", "a = 1 \nb = 2\n"), "old_string has trailing white space"));
    }
    SUBCASE("CRLF") {
        CHECK(contains(miss("a\r\nb\r\n", "a\nb\n"), "CRLF"));
        CHECK(contains(miss("a\nb\n", "a\r\nb\r\n"), "old_string has CRLF"));
    }
    SUBCASE("white space inside a line, and case") {
        CHECK(contains(miss("x  =  1\n", "x = 1"), "white space inside the line"));
        CHECK(contains(miss("Hello World\n", "hello world"), "upper and lower case"));
    }
    SUBCASE("a changed word") {
        auto const m = miss(file, "def two():\n\treturn 3\n");
        CHECK(contains(m, "line 5"));
        CHECK(contains(m, "\"return 2\""));
    }
    SUBCASE("one line that is only alike") {
        auto const m =
            miss("alpha\nint compute_total(int a, int b) {\nomega\n", "int compute_totals(int a, long b) {");
        CHECK(contains(m, "2\tint compute_total(int a, int b) {"));
    }
    SUBCASE("line numbers pasted along") {
        CHECK(contains(miss(file, "1\tdef one():\n2\t    return 1\n"), "line numbers of read_file"));
    }
    SUBCASE("nothing alike") { CHECK(contains(miss(file, "zzzzqqqq"), "nothing in the file is like it")); }
    SUBCASE("an empty file, blank text, text longer than the file") {
        CHECK_FALSE(miss("", "x").empty());
        CHECK_FALSE(miss("a\n", "\n\n\n").empty());
        CHECK(contains(miss("def one():\n", "def one():\n    return 1\n    more\n"), "the file ends before"));
    }
    SUBCASE("bounded for large files and long texts") {
        std::string large, wanted;
        for (int i = 0; i < 200'000; ++i) large += "the same line again\n";
        for (int i = 0; i < 5'000; ++i) wanted += "the same line agaim\n";
        CHECK(miss(large, wanted).size() < 5'000);
        CHECK(miss(std::string(2 << 20, 'x'), std::string(1 << 20, 'y')).size() < 5'000);
        CHECK(miss(std::string(2 << 20, '\n'), std::string(1 << 20, 'y')).size() < 5'000);
    }
}

TEST_CASE("edit_file") {
    Tree t;
    t.put("a.txt", "one\ntwo\nthree\n");
    SUBCASE("edits, and shows what changed") {
        auto const e =
            edit_file(t.root, "a.txt", {{"two", "2", false}}, base::sha256_hex("one\ntwo\nthree\n")).value();
        CHECK(t.get("a.txt") == "one\n2\nthree\n");
        CHECK(e.replacements == 1);
        CHECK(e.sha256 == base::sha256_hex("one\n2\nthree\n"));
        CHECK(contains(e.diff, "-two\n+2\n"));
    }
    SUBCASE("all or nothing") {
        CHECK_FALSE(edit_file(t.root, "a.txt", {{"one", "1", false}, {"missing", "x", false}}, std::nullopt));
        CHECK(t.get("a.txt") == "one\ntwo\nthree\n");
    }
    SUBCASE("refuses a stale caller") {
        auto const r = edit_file(t.root, "a.txt", {{"one", "1", false}}, base::sha256_hex("other"));
        REQUIRE_FALSE(r);
        CHECK(base::is(r.error(), errc::stale));
        CHECK(contains(r.error().message(), base::sha256_hex("one\ntwo\nthree\n")));
        CHECK(t.get("a.txt") == "one\ntwo\nthree\n");
    }
    SUBCASE("refuses missing and binary files") {
        CHECK(
            base::is(edit_file(t.root, "none", {{"a", "b", false}}, std::nullopt).error(), errc::not_found));
        t.put("bin", std::string("a\0b", 3));
        CHECK(base::is(edit_file(t.root, "bin", {{"a", "b", false}}, std::nullopt).error(), errc::invalid));
    }
    SUBCASE("bounds the diff") {
        std::string lines;
        for (int i = 0; i < 10'000; ++i) lines += "word " + std::to_string(i) + "\n";
        t.put("big", lines);
        auto const e = edit_file(t.root, "big", {{"word", "WORD", true}}, std::nullopt).value();
        CHECK(e.replacements == 10'000);
        CHECK(e.diff.size() <= 8000);
        CHECK(contains(e.diff, "(diff cut)"));
    }
}
