#include <doctest/doctest.h>

#include <resource_uri.hpp>

using namespace host;
using base::errc;
using Kind = ResourceUri::Kind;

namespace {

std::string path_of(std::string_view tail) {
    auto const uri = parse_resource_uri("berth://workspaces/ws-1/files/" + std::string(tail));
    REQUIRE(uri.has_value());
    CHECK(uri->kind == Kind::file);
    CHECK(uri->workspace == "ws-1");
    return uri->path;
}

errc failure(std::string_view uri) {
    auto const parsed = parse_resource_uri(uri);
    REQUIRE(parsed.has_error());
    return static_cast<errc>(parsed.error().code.value());
}
errc file_failure(std::string_view tail) {
    return failure("berth://workspaces/ws-1/files/" + std::string(tail));
}

}  // namespace

TEST_CASE("resource URIs") {
    SUBCASE("name a workspace, a file or a command's output") {
        auto const workspace = parse_resource_uri("berth://workspaces/ws-abc2");
        REQUIRE(workspace.has_value());
        CHECK(workspace->kind == Kind::workspace);
        CHECK(workspace->workspace == "ws-abc2");
        auto const process = parse_resource_uri("berth://workspaces/ws-1/processes/p-2");
        REQUIRE(process.has_value());
        CHECK(process->kind == Kind::process);
        CHECK(process->process == "p-2");
        CHECK(path_of("src/main.py") == "src/main.py");
    }
    SUBCASE("take a directory with and without a slash at the end") {
        CHECK(path_of("") == ".");
        CHECK(path_of("src") == "src");
        CHECK(path_of("src/") == "src");
    }
    SUBCASE("take what models write for the two directories that last") {
        CHECK(path_of("~") == "~");
        CHECK(path_of("~/.bashrc") == "~/.bashrc");
        CHECK(path_of("/workspace") == ".");
        CHECK(path_of("/workspace/a/b") == "a/b");
        CHECK(path_of("/home/agent") == "~");
        CHECK(path_of("/home/agent/x") == "~/x");
    }
    SUBCASE("undo escapes, byte by byte") {
        CHECK(path_of("a%20b%23%3f.txt") == "a b#?.txt");
        CHECK(path_of("%D1%84") == "ф");
        CHECK(path_of("%ff") == "\xff");
        CHECK(path_of("100%25") == "100%");
        CHECK(path_of("%2525") == "%25");
        CHECK(path_of("...") == "...");
    }
    SUBCASE("hold no way out of the directory, in any spelling") {
        for (auto const* tail : {"..", "../x", "a/../../x", "a/..", ".", "./a", "%2e%2e/x", ".%2E/x", "a/%2e",
                                 "a//b", "//", "//workspace/a", "a/..//", "..%2fx", "a%2Fb", "a%00b"})
            CHECK_MESSAGE(file_failure(tail) == errc::invalid, tail);
        CHECK(file_failure("/etc/passwd") == errc::not_found);
        CHECK(file_failure("/workspaces/a") == errc::not_found);
        CHECK(file_failure("/home/agents") == errc::not_found);
    }
    SUBCASE("are refused when they are no URIs") {
        for (auto const* tail : {"a b", "%", "%4", "%4g", "a?b", "a#b", "a[1]", "ф", "a\\b", "a\nb", "<x>"})
            CHECK_MESSAGE(file_failure(tail) == errc::invalid, tail);
        CHECK(file_failure(std::string(5000, 'a')) == errc::invalid);
        CHECK(file_failure(std::string(20'000, 'a')) == errc::invalid);
        CHECK(failure(std::string_view("berth://workspaces/ws-1\0", 24)) == errc::invalid);
    }
    SUBCASE("name nothing when they are not of these three forms") {
        for (auto const* uri :
             {"", "file:///etc/passwd", "berth://workspaces", "berth://workspaces/", "berth://workspace/ws-1",
              "BERTH://workspaces/ws-1", "berth://workspaces/ws-1/", "berth://workspaces/ws-1/files",
              "berth://workspaces/ws-1/file/a", "berth://workspaces/ws-1/processes/",
              "berth://workspaces/%77s-1", "berth://workspaces/ws-1/processes/p-1/x",
              "berth://workspaces/ws.1", "berth://workspaces/../ws-1"})
            CHECK_MESSAGE(failure(uri) == errc::not_found, uri);
    }
    SUBCASE("are made so that they mean the same path again") {
        CHECK(file_uri("ws-1", ".") == "berth://workspaces/ws-1/files/");
        CHECK(file_uri("ws-1", "a/b c") == "berth://workspaces/ws-1/files/a/b%20c");
        CHECK(file_uri("ws-1", "~/x") == "berth://workspaces/ws-1/files/~/x");
        CHECK(file_uri("ws-1", "a+(1)@x=y,z;!$&'*") == "berth://workspaces/ws-1/files/a+(1)@x=y,z;!$&'*");
        std::string every;
        for (int c = 1; c < 256; ++c)
            if (c != '/') every += static_cast<char>(c);
        auto const again = parse_resource_uri(file_uri("ws-1", "d/" + every));
        REQUIRE(again.has_value());
        CHECK(again->path == "d/" + every);
        CHECK(parse_resource_uri(workspace_uri("ws-1") + "/processes/p-1")->process == "p-1");
        CHECK(parse_resource_uri(workspace_uri("ws-1"))->workspace == "ws-1");
    }
}
