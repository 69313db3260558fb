#include "mounts.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <sstream>
#include <thread>

namespace sandbox::mounts {

namespace {

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string const& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

}  // namespace

base::Result<std::vector<std::string>> below(std::string const& directory) {
    auto text = base::read_file("/proc/self/mountinfo", 16 << 20);
    if (!text) return text.error();
    std::vector<std::string> out;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string id, parent, device, root, point;
        words >> id >> parent >> device >> root >> point;
        point = unescape(point);
        if (point == directory || point.starts_with(directory + "/")) out.push_back(std::move(point));
    }
    std::reverse(out.begin(), out.end());       // the kernel lists them in the order of mounting within a tree
    std::stable_sort(out.begin(), out.end(), [](auto const& a, auto const& b) { return a.size() > b.size(); });
    return out;
}

base::Status make_shared(std::string const& directory) {
    auto points = below(directory);
    if (!points) return points.error();
    if (std::find(points->begin(), points->end(), directory) == points->end()) {
        if (auto s = base::sys::mount("berth", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=256m"); !s)
            return s;
        if (auto s = base::sys::mount("", directory, nullptr, MS_PRIVATE); !s) return s;
    }
    return base::sys::mount("", directory, nullptr, MS_SHARED);
}

base::Status seal(std::string const& directory) {
    if (auto s = base::sys::bind_mount(directory, directory); !s) return s;
    return base::sys::mount("", directory, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV);
}

base::Status attach(std::string const& source, std::string const& target) {
    auto const flags = O_PATH | O_NOFOLLOW | O_DIRECTORY;
    auto from = base::sys::open(source, flags);
    if (!from) return from.error();
    auto to = base::sys::open(target, flags);
    if (!to) return to.error();
    auto const path = [](base::UniqueFd const& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); };
    if (auto s = base::sys::bind_mount(path(*from), path(*to), true); !s)
        return base::wrap(s.error(), "mount " + source + " at " + target);
    return {};
}

base::Status detach_all(std::string const& directory, base::milliseconds limit) {
    auto const end = base::Clock::now() + limit;
    for (;;) {
        auto points = below(directory);
        if (!points) return points.error();
        if (points->empty()) return {};
        bool const late = base::Clock::now() > end;
        bool progress = false;
        for (auto const& point : *points) {
            auto done = base::sys::umount(point, UMOUNT_NOFOLLOW | (late ? MNT_DETACH : 0));
            if (done) progress = true;
            else if (late) return done;
        }
        if (!progress) std::this_thread::sleep_for(base::milliseconds(5));
    }
}

}  // namespace sandbox::mounts
