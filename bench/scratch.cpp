#include "scratch.hpp"

#include "interrupt.hpp"
#include "process_tree.hpp"
#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/syscalls.hpp>

#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <thread>
#include <vector>

namespace bench {
namespace {

std::vector<std::string> mounts_below(std::string const& directory) {
    std::vector<std::string> points;
    auto const text = base::read_file("/proc/self/mountinfo", 64 << 20);
    if (!text) return points;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string id, parent, device, root, point;
        words >> id >> parent >> device >> root >> point;
        if (point.starts_with(directory + "/")) points.push_back(std::move(point));
    }
    std::reverse(points.begin(), points.end());  // the latest first
    return points;
}

}  // namespace

Scratch::Scratch() : path_("/var/tmp/berth-bench-" + base::random_id(8)) {
    base::sys::mkdir(path_, 0700).value();
}

Scratch::~Scratch() {
    WithoutSignals undisturbed;
    auto const said = [this](std::string const& what) {
        std::fprintf(stderr, "berth-bench: left behind in %s: %s\n", path_.c_str(), what.c_str());
    };
    auto const left = processes_naming(path_ + "/");
    for (auto const pid : left) {
        said("process " + std::to_string(pid));
        ::kill(pid, SIGKILL);
    }
    if (!left.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    for (auto const& point : mounts_below(path_)) {
        said("mount " + point);
        (void)base::sys::umount(point, MNT_DETACH);
    }
    if (auto s = base::remove_tree(path_); !s) said(s.error().message());
}

}  // namespace bench
