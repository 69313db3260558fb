#include <workspace/tool_path.hpp>

#include <doctest/doctest.h>

#include <utility>

using namespace workspace;
using Root = ToolPath::Root;

TEST_CASE("a path that a tool is given") {
    SUBCASE("means /workspace, the home directory, or the rest of the sandbox") {
        struct {
            char const* given;
            Root root;
            char const* path;
        } const cases[] = {
            {"src/a.py", Root::workspace, "src/a.py"},
            {"/workspace/src/a.py", Root::workspace, "src/a.py"},
            {"/workspace", Root::workspace, "."},
            {"/workspace//a", Root::workspace, "a"},
            {".", Root::workspace, "."},
            {"./~/a", Root::workspace, "./~/a"},
            {"~", Root::home, "."},
            {"~/", Root::home, "."},
            {"~/a", Root::home, "a"},
            {"/home/agent/a", Root::home, "a"},
            {"~root/a", Root::workspace, "~root/a"},
            {"/workspaces/a", Root::neither, "/workspaces/a"},
            {"/home/agents", Root::neither, "/home/agents"},
            {"/etc/passwd", Root::neither, "/etc/passwd"},
        };
        for (auto const& c : cases) {
            CAPTURE(c.given);
            auto const at = tool_path(c.given);
            CHECK(at.root == c.root);
            CHECK(at.path == c.path);
        }
    }
    SUBCASE("is given back as one that means the same") {
        for (auto const root : {Root::workspace, Root::home})
            for (auto const* path : {".", "a", "src/a.py", "~", "~/a", "~root/a", "a/~/b"}) {
                CAPTURE(path);
                auto const shown = as_given({root, path});
                CAPTURE(shown);
                auto const again = tool_path(shown);
                CHECK(again.root == root);
                auto const same = again.path == path || again.path == std::string("./") + path;
                CHECK(same);
            }
        CHECK(as_given({Root::home, "notes.txt"}) == "~/notes.txt");
        CHECK(as_given({Root::workspace, "notes.txt"}) == "notes.txt");
        CHECK(as_given({Root::neither, "/etc/passwd"}) == "/etc/passwd");
    }
}
