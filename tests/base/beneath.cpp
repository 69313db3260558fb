#include <base/beneath.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

using base::Beneath;
using base::errc;
namespace fs = std::filesystem;

namespace {

// A tree with a neighbour that nothing may reach.
struct Tree {
    testing_support::TemporaryDirectory dir;
    std::string const root = dir.path + "/root", outside = dir.path + "/outside";
    Beneath tree = [this] {
        fs::create_directories(root + "/dir/deep");
        fs::create_directories(outside);
        put(outside + "/secret", "secret");
        put(root + "/dir/file", "inside");
        return Beneath::open(root).value();
    }();

    static void put(std::string const& path, std::string const& bytes) { std::ofstream(path) << bytes; }
    static std::string get(std::string const& path) {
        std::ifstream in(path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void link(std::string const& target, std::string const& at) const { fs::create_symlink(target, root + "/" + at); }
};

template <class T>
bool fails(base::Result<T> const& result, errc code) {
    if (result) return false;
    INFO(result.error().message());
    CHECK(is(result.error(), code));
    return is(result.error(), code);
}

std::string deep_path(int levels) {
    std::string path;
    for (int i = 0; i < levels; ++i) path += "d/";
    return path;
}

}  // namespace

TEST_CASE("paths beneath a directory") {
    Tree t;
    auto const& tree = t.tree;

    SUBCASE("are read at once when the kernel has them in memory") {
        CHECK(tree.read_cached("dir/file", 6) == "inside");
        CHECK_FALSE(tree.read_cached("dir/file", 5));
        Tree::put(t.root + "/empty", "");
        CHECK(tree.read_cached("empty", 0) == "");
        t.link("dir/file", "link");
        CHECK(tree.read_cached("link", 100) == "inside");
        REQUIRE(::mkfifo((t.root + "/pipe").c_str(), 0600) == 0);
        for (auto const* path : {"dir", "none", "pipe", "", "dir/file/x"}) CHECK_FALSE(tree.read_cached(path, 100));
    }
    SUBCASE("never leave it, by whatever name") {
        t.link("/etc", "absolute");
        t.link("../outside", "up");
        t.link(t.outside + "/secret", "secret");
        t.link("up", "twice");
        t.link("/proc/self/root", "magic");
        for (auto const* path : {"/etc/passwd", "../outside/secret", "dir/../../outside/secret", "absolute/passwd", "up/secret",
                                 "secret", "twice/secret", "..", "dir/../..", "magic/etc/passwd", "./../outside/secret"}) {
            INFO(path);
            CHECK(fails(tree.open_file(path), errc::denied));
            CHECK(fails(tree.read(path, 100), errc::denied));
            CHECK_FALSE(tree.read_cached(path, 100));
            CHECK(fails(tree.stat(path), errc::denied));
        }
        bool more = false;
        for (auto const* path : {"/", "..", "up", "absolute", "twice", "dir/../.."}) {
            INFO(path);
            CHECK(fails(tree.open_directory(path), errc::denied));
            CHECK(fails(tree.list(path, 10, more), errc::denied));
            CHECK(fails(tree.walk(path, [](auto const&, auto const&) { return true; }), errc::denied));
        }
        CHECK(Tree::get(t.outside + "/secret") == "secret");
    }
    SUBCASE("follow links beneath for reading, and never on the way to a change") {
        t.link("dir", "alias");
        t.link("dir/file", "alias-file");
        CHECK(tree.read("alias/file", 100).value() == "inside");
        CHECK(tree.read("alias-file", 100).value() == "inside");
        CHECK(tree.read("dir/../dir/./file", 100).value() == "inside");
        CHECK(tree.stat("alias").value().kind == Beneath::Kind::directory);
        CHECK(tree.stat("alias", false).value().kind == Beneath::Kind::link);

        t.link("../outside", "up");
        t.link("../outside/new", "dangling");
        for (std::string const at : {"alias", "up"}) {
            INFO(at);
            CHECK(fails(tree.replace(at + "/file", "x"), errc::denied));
            CHECK(fails(tree.replace(at + "/a/b/file", "x"), errc::denied));
            CHECK(fails(tree.append(at + "/file", "x"), errc::denied));
            CHECK(fails(tree.make_directories(at + "/new"), errc::denied));
            CHECK(fails(tree.rename("dir/file", at + "/moved", true), errc::denied));
            CHECK(fails(tree.rename(at + "/file", "moved", true), errc::denied));
            CHECK(fails(tree.remove(at + "/file", true), errc::denied));
            CHECK(fails(tree.copy(at + "/file", "copied", 100, 10), errc::denied));
            CHECK(fails(tree.copy("dir/file", at + "/copied", 100, 10), errc::denied));
        }
        CHECK(fails(tree.replace("dangling", "x"), errc::denied));
        CHECK(fails(tree.append("dangling", "x"), errc::denied));
        CHECK(fails(tree.replace("../new", "x"), errc::denied));
        CHECK(fails(tree.replace("dir/../../outside/secret", "x"), errc::denied));
        CHECK(fails(tree.make_directories("dir/../../outside/new"), errc::denied));
        CHECK_FALSE(fs::exists(t.outside + "/new"));
        CHECK(Tree::get(t.outside + "/secret") == "secret");
        CHECK(Tree::get(t.root + "/dir/file") == "inside");
    }
    SUBCASE("are refused when they are no paths") {
        for (auto const& path : {std::string(), std::string("dir\0/file", 9), std::string(5000, 'a')}) {
            CHECK(fails(tree.read(path, 1), errc::invalid));
            CHECK(fails(tree.replace(path, ""), errc::invalid));
            CHECK(fails(tree.remove(path, true), errc::invalid));
        }
        CHECK(fails(tree.replace(std::string(300, 'a'), ""), errc::invalid));
        for (auto const* path : {".", "..", "dir/..", "dir/."}) {
            INFO(path);
            CHECK(fails(tree.replace(path, ""), errc::invalid));
            CHECK(fails(tree.remove(path, true), errc::invalid));
        }
        CHECK(fails(tree.make_directories(deep_path(300)), errc::limit));
        CHECK(fails(tree.read("nothing", 1), errc::not_found));
        CHECK(fails(tree.read("dir/file/below", 1), errc::invalid));
        CHECK(fails(tree.read("dir", 1), errc::invalid));
        CHECK(fails(tree.read("dir/file", 3), errc::limit));
    }
    SUBCASE("open nothing but files and directories, and do not wait for the other end of a pipe") {
        REQUIRE(::mkfifo((t.root + "/fifo").c_str(), 0600) == 0);
        int const listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        (t.root + "/socket").copy(name.sun_path, sizeof name.sun_path - 1);
        REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
        for (auto const* path : {"fifo", "socket"}) {
            INFO(path);
            CHECK(fails(tree.read(path, 1), errc::invalid));
            CHECK(fails(tree.replace(path, "x"), errc::invalid));
            CHECK(fails(tree.append(path, "x"), errc::invalid));
            CHECK(fails(tree.copy(path, "copied", 1, 1), errc::invalid));
            CHECK(tree.stat(path).value().kind == Beneath::Kind::other);
            CHECK(tree.remove(path, false).has_value());
        }
        ::close(listener);
    }
}

TEST_CASE("changes beneath a directory") {
    Tree t;
    auto const& tree = t.tree;
    auto const names = [&] {
        std::vector<std::string> all;
        for (auto const& e : fs::recursive_directory_iterator(t.root)) all.push_back(fs::relative(e.path(), t.root));
        std::sort(all.begin(), all.end());
        return all;
    };

    SUBCASE("replace a file whole, keep its mode, and leave nothing else behind") {
        REQUIRE(tree.replace("a/b/new", "one", 0640).has_value());
        CHECK(tree.stat("a/b/new").value().mode == 0640);
        REQUIRE(tree.replace("a/b/new", "two", 0600).has_value());
        CHECK(tree.stat("a/b/new").value().mode == 0640);
        CHECK(tree.read("a/b/new", 10).value() == "two");
        REQUIRE(tree.append("a/b/new", "+three").has_value());
        REQUIRE(tree.append("a/c", "fresh").has_value());
        CHECK(Tree::get(t.root + "/a/b/new") == "two+three");
        CHECK(fails(tree.replace("dir", "x"), errc::invalid));
        CHECK(names() == std::vector<std::string>{"a", "a/b", "a/b/new", "a/c", "dir", "dir/deep", "dir/file"});
        auto const ordered = Beneath::open(t.root, Beneath::Sync::ordered).value();
        REQUIRE(ordered.replace("dir/file", "ordered").has_value());
        CHECK(tree.read("dir/file", 10).value() == "ordered");
    }
    SUBCASE("take a file piece by piece, and keep nothing of one that is dropped") {
        bool more = false;
        {
            auto file = tree.incoming("a/pieces").value();
            REQUIRE(file.write("one ").has_value());
            CHECK(fails(tree.read("a/pieces", 100), errc::not_found));
            REQUIRE(file.write("two").has_value());
            REQUIRE(file.commit().has_value());
        }
        CHECK(tree.read("a/pieces", 100).value() == "one two");
        auto const before = tree.list("a", 100, more).value().size();
        CHECK(tree.incoming("a/dropped").value().write("half").has_value());
        CHECK(tree.list("a", 100, more).value().size() == before);
    }
    SUBCASE("files and copies grow up in the staging directory, while there is one") {
        auto whole = Beneath::open(t.root).value();
        auto staged = whole.open_directory("dir").value();
        REQUIRE(whole.make_directories("staging").has_value());
        staged.stage_in(whole.open_directory("staging").value());
        REQUIRE(whole.replace("staging/.berth-tmp-of-a-crash", "x").has_value());
        REQUIRE(staged.replace("new/file", "one").has_value());
        REQUIRE(staged.replace("new/file", "two").has_value());
        REQUIRE(staged.open_directory("new").value().replace("below", "three").has_value());
        REQUIRE(staged.copy("new", "twin", 100, 10).has_value());
        CHECK(fails(staged.copy("new", "new/self", 100, 10), errc::invalid));
        CHECK(fails(staged.copy("new", "tight", 4, 10), errc::limit));
        CHECK(tree.read("dir/new/file", 10).value() == "two");
        CHECK(tree.read("dir/twin/below", 10).value() == "three");
        REQUIRE(whole.remove("staging", true).has_value());
        REQUIRE(staged.replace("new/file", "four").has_value());
        REQUIRE(staged.copy("new", "third", 100, 10).has_value());
        CHECK(tree.read("dir/third/file", 10).value() == "four");
        CHECK(names() == std::vector<std::string>{"dir", "dir/deep", "dir/file", "dir/new", "dir/new/below", "dir/new/file",
                                                  "dir/third", "dir/third/below", "dir/third/file", "dir/twin",
                                                  "dir/twin/below", "dir/twin/file"});
    }
    SUBCASE("rename, and replace only when told to") {
        Tree::put(t.root + "/other", "other");
        CHECK(fails(tree.rename("dir/file", "other", false), errc::exists));
        CHECK(tree.rename("dir/file", "other", true).has_value());
        CHECK(tree.read("other", 10).value() == "inside");
        CHECK(tree.rename("other", "x/y/z", false).has_value());
        CHECK(fails(tree.rename("gone", "q", false), errc::not_found));
        CHECK(fails(tree.rename("x", "dir", true), errc::exists));
    }
    SUBCASE("remove files, links and, when told to, trees, but not what links lead to") {
        t.link("../outside", "dir/up");
        t.link("file", "dir/alias");
        CHECK(fails(tree.remove("dir", false), errc::exists));
        CHECK(tree.remove("dir/alias", false).has_value());
        CHECK(tree.read("dir/file", 10).value() == "inside");
        CHECK(tree.remove("dir", true).has_value());
        CHECK(names().empty());
        CHECK(Tree::get(t.outside + "/secret") == "secret");
        CHECK(fails(tree.remove("dir", true), errc::not_found));
    }
    SUBCASE("copy trees with their links as links, within limits, all or nothing") {
        t.link("../outside", "dir/up");
        REQUIRE(tree.copy("dir", "twin", 100, 10).has_value());
        CHECK(tree.read("twin/file", 10).value() == "inside");
        CHECK(fs::read_symlink(t.root + "/twin/up") == "../outside");
        CHECK(fails(tree.copy("dir", "twin", 100, 10), errc::exists));
        auto const before = names();
        CHECK(fails(tree.copy("dir", "big", 5, 10), errc::limit));
        CHECK(fails(tree.copy("dir", "many", 100, 2), errc::limit));
        CHECK(names() == before);
        CHECK(fails(tree.copy("dir", "dir/self", 1 << 20, 1000), errc::invalid));
        CHECK(names() == before);
    }
    SUBCASE("list up to a limit and walk in order without following") {
        t.link("..", "dir/loop");
        Tree::put(t.root + "/dir/a", "");
        bool more = false;
        CHECK(tree.list("dir", 2, more).value().size() == 2);
        CHECK(more);
        CHECK(tree.list("dir", 4, more).value().size() == 4);
        CHECK_FALSE(more);
        std::vector<std::string> seen;
        REQUIRE(tree.walk(".", [&](std::string const& path, auto const&) {
            seen.push_back(path);
            return true;
        }).has_value());
        CHECK(seen == std::vector<std::string>{"dir", "dir/a", "dir/deep", "dir/file", "dir/loop"});
        seen.clear();
        REQUIRE(tree.walk(".", [&](std::string const& path, auto const& e) {
            seen.push_back(path);
            return e.kind != Beneath::Kind::directory;
        }).has_value());
        CHECK(seen == std::vector<std::string>{"dir"});
    }
}
