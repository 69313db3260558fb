#include "tree.hpp"
#include <base/json.hpp>
#include <workspace/files.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace workspace;
using base::errc;

namespace {

SearchQuery query(std::string regex, std::string glob = "", std::string path = ".") {
    SearchQuery q;
    q.regex = std::move(regex);
    q.glob = std::move(glob);
    q.path = std::move(path);
    return q;
}

std::string lines(Found const& found) {
    std::string out;
    for (auto const& m : found.matches)
        out += m.path + (m.line ? ":" + std::to_string(m.line) + ":" + m.text : "") + "\n";
    return out;
}

}  // namespace

TEST_CASE("search") {
    Tree t;
    auto const run = [&](SearchQuery const& q) { return search(t.root, q).value(); };
    t.put("main.py", "import os\n\ndef main():\n    pass\n");
    t.put("src/a.py", "x = 1\nimport re\n");
    t.put("src/deep/b.txt", "Import this\r\nend\r\n");
    SUBCASE("finds lines in path order with their numbers") {
        auto const found = run(query("^import"));
        CHECK(lines(found) == "main.py:1:import os\nsrc/a.py:2:import re\n");
        CHECK(found.files_searched == 3);
        CHECK_FALSE(found.truncated);
    }
    SUBCASE("ignores case when asked") {
        auto q = query("^import");
        q.ignore_case = true;
        CHECK(run(q).matches.size() == 3);
    }
    SUBCASE("anchors at line ends, CRLF or not, and never spans lines") {
        CHECK(lines(run(query("this$"))) == "src/deep/b.txt:1:Import this\n");
        CHECK(run(query("pass\\s+x")).matches.empty());
        CHECK(run(query("os[^z]*def")).matches.empty());
    }
    SUBCASE("reports a line once, and an empty match for each line") {
        t.put("e/f", "aaa\n\nb\n");
        CHECK(lines(run(query("a", "", "e"))) == "e/f:1:aaa\n");
        CHECK(run(query("x*", "", "e")).matches.size() == 3);
    }
    SUBCASE("lists files without a regex") {
        CHECK(lines(run(query("", "*.py"))) == "main.py\nsrc/a.py\n");
        CHECK(run(query("")).matches.size() == 3);
    }
    SUBCASE("matches globs by name or by path") {
        CHECK(lines(run(query("", "src/*"))) == "src/a.py\n");
        CHECK(lines(run(query("", "src/**"))) == "src/a.py\nsrc/deep/b.txt\n");
        CHECK(lines(run(query("", "**/a.py"))) == "src/a.py\n");
        CHECK(lines(run(query("", "**/main.py"))) == "main.py\n");
        CHECK(lines(run(query("", "*.{py,txt}"))) == "main.py\nsrc/a.py\nsrc/deep/b.txt\n");
        CHECK(lines(run(query("", "[a-b].*"))) == "src/a.py\nsrc/deep/b.txt\n");
        CHECK(lines(run(query("", "[!a]?txt"))) == "src/deep/b.txt\n");
        CHECK(lines(run(query("", "deep/*.txt", "src"))) == "src/deep/b.txt\n");
        CHECK(run(query("", "main.p")).matches.empty());
        t.put("\xc3\xa9.md", "x");
        CHECK(run(query("", "?.md")).matches.size() == 1);
        CHECK(run(query("", "\xc3\xa9.*")).matches.size() == 1);
    }
    SUBCASE("refuses bad patterns with the place") {
        auto const bad = search(t.root, query("a(b"));
        REQUIRE_FALSE(bad);
        CHECK(base::is(bad.error(), errc::invalid));
        auto const at = search(t.root, query("abc[z-a]"));
        CHECK(contains(at.error().message(), "at character 5"));
        CHECK(contains(search(t.root, query("(a)\\1")).error().message(), "RE2"));
        CHECK(base::is(search(t.root, query("a\nb")).error(), errc::invalid));
        CHECK(base::is(search(t.root, query("x", "a[b")).error(), errc::invalid));
        CHECK(base::is(search(t.root, query("x", "a{b")).error(), errc::invalid));
        CHECK(base::is(search(t.root, query(std::string(20'000, 'x'))).error(), errc::invalid));
    }
    SUBCASE("searches one file, and refuses a missing path") {
        CHECK(lines(run(query("def", "", "main.py"))) == "main.py:3:def main():\n");
        CHECK(lines(run(query("import", "", "./src/"))) == "src/a.py:2:import re\n");
        CHECK(base::is(search(t.root, query("x", "", "none")).error(), errc::not_found));
    }
    SUBCASE("skips .git, node_modules and binary files unless they are named") {
        t.put(".git/config", "needle\n");
        t.put("web/node_modules/m/index.js", "needle\n");
        t.put("data.bin", std::string("needle\n\0", 8));
        CHECK(run(query("needle")).matches.empty());
        CHECK(run(query("needle", "", ".git")).matches.size() == 1);
        CHECK(run(query("needle", "web/node_modules/**")).matches.size() == 1);
        CHECK(run(query("needle", "", "data.bin")).matches.size() == 1);
        CHECK(run(query("needle", "data.bin")).matches.size() == 1);
        CHECK(run(query("needle", "*.bin")).matches.empty());
    }
    SUBCASE("stops at the limit and says so") {
        auto q = query(".");
        q.limit = 2;
        auto const found = run(q);
        CHECK(found.matches.size() == 2);
        CHECK(found.truncated);
        auto const exact = query("^import os");
        CHECK_FALSE(run(exact).truncated);
    }
    SUBCASE("shows the part of an endless line around the match") {
        t.put("min.js", std::string(2'000'000, 'x') + "\xc3\xa9needle" + std::string(2'000'000, 'y'));
        auto const found = run(query("needle"));
        REQUIRE(found.matches.size() == 1);
        CHECK(found.matches[0].text.size() <= 300);
        CHECK(contains(found.matches[0].text, "needle"));
        CHECK(base::valid_utf8(found.matches[0].text));
    }
    SUBCASE("looks at the first part of a huge file and says so") {
        t.put("huge", "needle\n");
        std::ofstream(t.path + "/huge", std::ios::app) << std::string(9 << 20, '\n') << "needle\n";
        auto const found = run(query("needle"));
        CHECK(found.matches.size() == 1);
        CHECK(found.truncated);
    }
    SUBCASE("takes patterns built to run for ever") {
        t.put("a", std::string(100'000, 'a') + "!\n");
        CHECK(run(query("^(a+)+$", "a")).matches.empty());
        CHECK(run(query("(a|a)*b", "a")).matches.empty());
        auto const deep = search(t.root, query(std::string(4'000, '(') + std::string(4'000, ')')));
        CHECK((deep.has_value() || base::is(deep.error(), errc::invalid)));
        auto const huge = search(t.root, query("((a{100}){100}){100}"));
        CHECK(base::is(huge.error(), errc::invalid));
        CHECK(run(query("", std::string(100, '*'))).files_searched == 4);
    }
    SUBCASE("bounds its answer over many entries") {
        for (int i = 0; i < 3'000; ++i) t.put("many/f" + std::to_string(i), "needle\n");
        auto q = query("needle");
        q.limit = 50;
        CHECK(run(q).matches.size() == 50);
        CHECK(run(q).truncated);
    }
    SUBCASE("shows a name that is not UTF-8 as text") {
        t.put("bad\xff", "needle\n");
        CHECK(base::valid_utf8(lines(run(query("needle")))));
    }
}
