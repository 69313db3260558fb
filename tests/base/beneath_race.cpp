#include <base/beneath.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

using base::Beneath;
namespace fs = std::filesystem;

// Someone inside swaps a directory for a link to the outside, and a file for a link to a secret, as fast as they can.
TEST_CASE("paths beneath a directory that is changed meanwhile") {
    testing_support::TemporaryDirectory dir;
    std::string const root = dir.path + "/root", outside = dir.path + "/outside";
    fs::create_directories(root + "/real");
    fs::create_directories(outside + "/tree");
    std::ofstream(outside + "/file") << "SECRET";
    std::ofstream(outside + "/tree/kept") << "kept";
    std::ofstream(root + "/real/file") << "inside";
    fs::create_symlink(outside, root + "/swap");
    std::ofstream(root + "/plain") << "inside";
    fs::create_symlink(outside + "/file", root + "/swap-file");
    auto const tree = Beneath::open(root).value();

    std::atomic<bool> stop{false};
    std::atomic<long> swaps{0};
    std::thread racer([&] {
        int const at = ::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        while (!stop) {
            // "real" is by turns the directory and the link; both names exist at every moment.
            ::renameat2(at, "real", at, "swap", RENAME_EXCHANGE);
            ::renameat2(at, "plain", at, "swap-file", RENAME_EXCHANGE);
            ++swaps;
        }
        ::close(at);
    });

    long leaked = 0, reads = 0, writes = 0;
    auto const end = base::Clock::now() + std::chrono::seconds(1);
    // At least some rounds and some swaps, however loaded the machine is.
    for (int round = 0; base::Clock::now() < end || round < 200 || swaps < 200; ++round) {
        for (auto const* path : {"real/file", "swap/file", "plain", "swap-file", "real/../real/file"}) {
            auto const bytes = tree.read(path, 100);
            if (bytes) {
                ++reads;
                if (*bytes == "SECRET") ++leaked;
            }
        }
        bool more = false;
        auto const names = tree.list("real", 10, more);
        if (names)
            for (auto const& e : *names) leaked += e.name == "tree";
        (void)tree.walk(".", [&](std::string const& path, auto const&) {
            leaked += path.ends_with("kept");
            return true;
        });
        writes += tree.replace("real/file", "inside").has_value();
        writes += tree.append("real/log", "x").has_value();
        (void)tree.make_directories("real/made/deep");
        (void)tree.copy("plain", "real/copied", 100, 10);
        (void)tree.rename("real/copied", "swap/moved", true);
        (void)tree.remove("real/tree", true);
        (void)tree.remove("swap/moved", true);
        (void)tree.remove("real/made", true);
    }
    stop = true;
    racer.join();

    CHECK(leaked == 0);
    CHECK(reads > 0);
    CHECK(writes > 0);
    std::vector<std::string> left;
    for (auto const& e : fs::recursive_directory_iterator(outside)) left.push_back(fs::relative(e.path(), outside));
    std::sort(left.begin(), left.end());
    CHECK(left == std::vector<std::string>{"file", "tree", "tree/kept"});
    std::ifstream secret(outside + "/file");
    CHECK(std::string(std::istreambuf_iterator<char>(secret), {}) == "SECRET");
}
