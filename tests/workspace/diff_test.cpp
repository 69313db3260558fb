#include "tree.hpp"
#include <base/json.hpp>
#include <base/launcher.hpp>
#include <workspace/files.hpp>

#include <doctest/doctest.h>

#include <random>

using namespace workspace;

namespace {

std::string random_lines(std::mt19937& random, int most) {
    std::string out;
    for (int n = static_cast<int>(random() % static_cast<unsigned>(most + 1)); n > 0; --n)
        out += std::string(1, static_cast<char>('a' + random() % 4)) + "\n";
    if (!out.empty() && random() % 4 == 0) out.pop_back();
    return out;
}

}  // namespace

TEST_CASE("unified_diff") {
    SUBCASE("writes what diff -u writes") {
        CHECK(unified_diff("f", "a\nb\nc\n", "a\nB\nc\n", 8000) ==
              "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        CHECK(unified_diff("f", "", "a\n", 8000) == "--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+a\n");
        CHECK(unified_diff("f", "a\n", "", 8000) == "--- a/f\n+++ b/f\n@@ -1 +0,0 @@\n-a\n");
        CHECK(unified_diff("f", "a\n", "a\n", 8000).empty());
    }
    SUBCASE("tells a missing newline at the end") {
        CHECK(unified_diff("f", "a", "a\n", 8000) ==
              "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    }
    SUBCASE("keeps distant changes in hunks of their own, with three lines around") {
        std::string before;
        for (int i = 1; i <= 40; ++i) before += std::to_string(i) + "\n";
        auto after = before;
        after.replace(after.find("\n5\n") + 1, 1, "five");
        after.replace(after.find("\n35\n") + 1, 2, "x");
        auto const d = unified_diff("f", before, after, 8000);
        CHECK(contains(d, "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"));
        CHECK(contains(d, "@@ -32,7 +32,7 @@\n 32\n 33\n 34\n-35\n+x\n 36\n 37\n 38\n"));
    }
    SUBCASE("patch(1) turns the one into the other, for many random texts") {
        if (base::find_program("patch").empty()) {
            MESSAGE("SKIPPED: patch is not installed");
            return;
        }
        std::mt19937 random(1);  // the same texts each time
        Tree t;
        testing_support::Io io;
        for (int i = 0; i < 60; ++i) {
            auto const before = random_lines(random, 40), after = random_lines(random, 40);
            if (before == after) continue;
            t.put("f", before);
            t.put("d", unified_diff("f", before, after, 100'000));
            base::Launch patch;
            patch.argv = {"patch",         "-s",          "--force",    "-p1", "-o",
                          t.path + "/out", t.path + "/f", t.path + "/d"};
            auto const done = io.run(base::run(std::move(patch), std::chrono::seconds(30))).value();
            CAPTURE(before);
            CAPTURE(after);
            CAPTURE(t.get("d"));
            CHECK(done.exit_code == 0);
            CHECK(t.get("out") == after);
        }
    }
    SUBCASE("stays within its characters, work and encoding for anything") {
        std::mt19937 random(2);
        std::string a, b, c;
        for (int i = 0; i < 40'000; ++i) {
            a += std::to_string(random()) + "\n";
            b += std::to_string(random()) + "\n";
        }
        for (int i = 0; i < 400'000; ++i) c += "\n";
        std::string const bad(100'000, '\xff');
        for (auto const& [x, y] : {std::pair(a, b), {a, c}, {c, a + c}, {bad, a}, {a, bad}})
            for (std::size_t const max : {0, 10, 100, 8000}) {
                auto const d = unified_diff("f", x, y, max);
                CHECK(d.size() <= max);
                CHECK(base::valid_utf8(d));
            }
    }
}
