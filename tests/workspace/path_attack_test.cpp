#include "tree.hpp"
#include <workspace/files.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <atomic>
#include <thread>

using namespace workspace;
using base::errc;

namespace {

constexpr char const* kCanary = "the outside, unread and unchanged\n";

struct Attacked : Tree {
    std::string outside = temporary.path + "/outside";
    Attacked() {
        std::filesystem::create_directory(outside);
        std::ofstream(outside + "/canary") << kCanary;
        put("inside/file", "inside\n");
        std::filesystem::create_symlink(outside, path + "/dirlink");
        std::filesystem::create_symlink("../outside", path + "/relative");
        std::filesystem::create_symlink(outside + "/canary", path + "/filelink");
        std::filesystem::create_symlink("../../outside/canary", path + "/inside/up");
        std::filesystem::create_symlink("loop", path + "/loop");
        std::filesystem::create_symlink("/proc/self/root", path + "/magic");
        ::mkfifo((path + "/fifo").c_str(), 0666);
        (void)::mknod((path + "/device").c_str(), S_IFCHR | 0666, ::makedev(1, 5));  // /dev/zero; needs root
        int const s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", path.c_str());
        (void)::bind(s, reinterpret_cast<sockaddr*>(&address), sizeof address);
        ::close(s);
    }
    bool untouched() const {
        return read(outside + "/canary") == kCanary &&
               std::distance(std::filesystem::directory_iterator(outside), {}) == 1;
    }
};

struct Answer {
    std::string text;  // whatever the caller would see
    bool ok = false;
};
using Function = Answer (*)(base::Beneath const&, std::string const&);

template <class T>
Answer answer(base::Result<T> const& r, std::string text) {
    return {r ? std::move(text) : r.error().message(), r.has_value()};
}

// Every function that takes a path. `edit` and `search` look for text that both sides have.
Function const kFunctions[] = {
    [](base::Beneath const& root, std::string const& path) {
        auto const r = read_text(root, path, 0, 0);
        return answer(r, r ? r->text + r->image : "");
    },
    [](base::Beneath const& root, std::string const& path) {
        return answer(write_file(root, path, "overwritten\n", WriteMode::overwrite, std::nullopt), "");
    },
    [](base::Beneath const& root, std::string const& path) {
        return answer(write_file(root, path, "appended\n", WriteMode::append, std::nullopt), "");
    },
    [](base::Beneath const& root, std::string const& path) {
        auto const r = edit_file(root, path, {{"n", "N", true}}, std::nullopt);
        return answer(r, r ? r->diff : "");
    },
    [](base::Beneath const& root, std::string const& path) {
        SearchQuery q;
        q.path = path.empty() ? ".." : path;  // an empty path is the workspace itself here, and here only
        q.regex = ".";
        auto const r = search(root, q);
        std::string text;
        if (r)
            for (auto const& m : r->matches) text += m.text + "\n";
        return answer(r, text);
    },
};

}  // namespace

TEST_CASE("every file function refuses paths that leave the tree or name no regular file") {
    Attacked t;
    std::string const attacks[] = {"",
                                   "..",
                                   "../outside/canary",
                                   "inside/../../outside/canary",
                                   "./../outside/canary",
                                   t.outside + "/canary",
                                   "/etc/hostname",
                                   "dirlink/canary",
                                   "dirlink/new",
                                   "relative/canary",
                                   "relative/new",
                                   "filelink",
                                   "inside/up",
                                   "loop",
                                   "loop/x",
                                   "magic/etc/hostname",
                                   "magic" + t.outside + "/canary",
                                   "socket/x",
                                   "inside/file/x",
                                   std::string("inside/file\0x", 13),
                                   std::string("\0", 1),
                                   std::string(5000, 'a'),
                                   "inside/" + std::string(300, 'a'),
                                   std::string(2600, 'a') + "/" + std::string(2600, 'b')};
    for (auto const& path : attacks)
        for (auto const function : kFunctions) {
            CAPTURE(path.substr(0, 100));
            auto const got = function(t.root, path);
            CHECK_FALSE(got.ok);
            CHECK_FALSE(contains(got.text, "unread"));
            CHECK(t.untouched());
        }
    CHECK(t.get("inside/file") == "inside\n");
}

TEST_CASE("no file function waits on, writes to or reads a special file") {
    Attacked t;
    for (std::string const path : {"fifo", "socket", "device"})
        for (auto const function : kFunctions) {
            if (!std::filesystem::exists(std::filesystem::symlink_status(t.path + "/" + path))) {
                MESSAGE("SKIPPED: cannot make a ", path);
                continue;
            }
            CAPTURE(path);
            auto const got = function(t.root, path);
            CHECK_FALSE(got.ok);
        }
    CHECK(std::filesystem::is_fifo(t.path + "/fifo"));
}

TEST_CASE("a search of the whole tree stays in it") {
    Attacked t;
    SearchQuery q;
    q.regex = "side";
    auto const found = search(t.root, q).value();
    REQUIRE(found.matches.size() == 1);
    CHECK(found.matches[0].path == "inside/file");
}

TEST_CASE("links beneath the tree are followed for reading, never for writing") {
    Tree t;
    t.put("real/file", "text\n");
    std::filesystem::create_symlink("real/file", t.path + "/link");
    std::filesystem::create_symlink("real", t.path + "/dir");
    CHECK(read_text(t.root, "link", 0, 0).value().text == "1\ttext\n");
    CHECK(read_text(t.root, "dir/file", 0, 0).value().text == "1\ttext\n");
    for (std::string const path : {"link", "dir/file"}) {
        CHECK(base::is(write_file(t.root, path, "x", WriteMode::overwrite, std::nullopt).error(),
                       errc::denied));
        CHECK(base::is(write_file(t.root, path, "x", WriteMode::append, std::nullopt).error(), errc::denied));
        CHECK(base::is(edit_file(t.root, path, {{"text", "x", false}}, std::nullopt).error(), errc::denied));
    }
    CHECK(t.get("real/file") == "text\n");
}

TEST_CASE("a directory exchanged with a link to the outside, while every function runs") {
    Attacked t;
    t.put("swap/canary", "inside n\n");
    std::atomic<bool> stop = false;
    std::atomic<long> exchanges = 0;
    std::jthread racer([&] {
        auto const a = t.path + "/swap", b = t.path + "/dirlink";
        while (!stop) {
            if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) ++exchanges;
        }
    });
    int rounds = 0;
    bool leaked = false;
    auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    // At least a hundred exchanges, however little of the machine we get.
    while ((std::chrono::steady_clock::now() < end || exchanges < 100) && !leaked) {
        for (auto const function : kFunctions)
            for (std::string const path :
                 {"swap/canary", "dirlink/canary", "swap/made", "swap/deep/made", "swap", "."})
                if (contains(function(t.root, path).text, "unread")) leaked = true;
        ++rounds;
    }
    stop = true;
    racer.join();
    CHECK_FALSE(leaked);
    CHECK(t.untouched());
    CHECK(rounds > 0);
    CHECK(exchanges >= 100);
}
