#include "hibernation.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <sstream>
#include <string_view>

namespace guest {
namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::size_t kMaxFound = 100;

std::string read_some(std::string const& path, std::size_t max) {
    std::string out;
    int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return out;
    char chunk[8192];
    ssize_t n;
    while (out.size() < max && (n = ::read(fd, chunk, sizeof chunk)) > 0) out.append(chunk, static_cast<std::size_t>(n));
    ::close(fd);
    return out;
}

void each_name(std::string const& directory, std::function<void(std::string const&)> const& visit) {
    DIR* dir = ::opendir(directory.c_str());
    if (!dir) return;
    while (dirent* entry = ::readdir(dir))
        if (entry->d_name[0] != '.') visit(entry->d_name);
    ::closedir(dir);
}

// Whole or not at all, also for those who read meanwhile.
void replace(std::string const& path, std::string const& text) {
    auto const aside = path + ".new";
    int const fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return;
    bool const whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    if (whole) ::rename(aside.c_str(), path.c_str());
}

std::string random_hex(std::size_t bytes) {
    std::string raw(bytes, '\0');
    if (::getrandom(raw.data(), raw.size(), 0) != static_cast<ssize_t>(raw.size())) return {};
    std::string out;
    char two[3];
    for (unsigned char const c : raw) {
        std::snprintf(two, sizeof two, "%02x", c);
        out += two;
    }
    return out;
}

}  // namespace

std::vector<DeletedFile> deleted_files(std::vector<std::string> const& directories) {
    std::vector<DeletedFile> found;
    std::set<std::pair<pid_t, std::string>> seen;
    auto const consider = [&](pid_t pid, std::string_view target) {
        if (!target.ends_with(kDeleted) || found.size() >= kMaxFound) return;
        std::string path(target.substr(0, target.size() - kDeleted.size()));
        for (auto const& directory : directories) {
            if (!path.starts_with(directory + "/") || !seen.emplace(pid, path).second) continue;
            auto program = read_some("/proc/" + std::to_string(pid) + "/comm", 64);
            while (!program.empty() && program.back() == '\n') program.pop_back();
            found.push_back({path, pid, program});
        }
    };
    each_name("/proc", [&](std::string const& name) {
        pid_t const pid = std::atoi(name.c_str());
        if (pid <= 0 || pid == ::getpid()) return;
        auto const process = "/proc/" + name;
        char target[4096 + 64];
        auto const look = [&](std::string const& link) {
            if (ssize_t const n = ::readlink(link.c_str(), target, sizeof target); n > 0)
                consider(pid, {target, static_cast<std::size_t>(n)});
        };
        for (char const* link : {"/exe", "/cwd"}) look(process + link);
        each_name(process + "/fd", [&](std::string const& fd) { look(process + "/fd/" + fd); });
        std::istringstream maps(read_some(process + "/maps", 4 << 20));
        for (std::string line; std::getline(maps, line);)
            if (auto const slash = line.find('/'); slash != line.npos && line.ends_with(kDeleted))
                consider(pid, std::string_view(line).substr(slash));
    });
    return found;
}

void announce(std::string const& directory, std::uint64_t generation, bool forked) {
    ::mkdir("/run", 0755);
    ::mkdir(directory.c_str(), 0755);
    auto const notify = directory + "/notify";
    if (::mkdir(notify.c_str(), 01777) == 0) ::chmod(notify.c_str(), 01777);
    if (forked)
        if (auto const id = random_hex(16); !id.empty()) replace("/etc/machine-id", id + "\n");
    replace(directory + "/generation", std::to_string(generation) + (forked ? " forked\n" : " restored\n"));
    each_name(notify, [&](std::string const& name) {
        pid_t const pid = std::atoi(name.c_str());
        int const signal = std::atoi(read_some(notify + "/" + name, 16).c_str());
        struct stat st{};
        bool const lives = pid > 1 && ::stat(("/proc/" + name).c_str(), &st) == 0;
        if (!lives) ::unlink((notify + "/" + name).c_str());      // or a later process of that number would be signalled
        else if (signal > 0 && signal < 65) ::kill(pid, signal);
    });
}

void renew_boot_id(std::string const& directory) {
    constexpr char const* kShown = "/proc/sys/kernel/random";            // gVisor has nothing else there
    auto const own = directory + "/random";
    auto id = random_hex(16);
    if (id.empty()) return;
    id[12] = '4';                                                        // RFC 9562: random, of the usual variant
    id[16] = "89ab"[id[16] % 4];
    for (std::size_t const dash : {20, 16, 12, 8}) id.insert(dash, "-");
    ::mkdir(directory.c_str(), 0755);
    ::mkdir(own.c_str(), 0755);
    replace(own + "/boot_id", id + "\n");
    struct stat shown{}, ours{};
    if (::stat(kShown, &shown) != 0 || ::stat(own.c_str(), &ours) != 0) return;
    // The machine's own kernel: its boot is every sandbox's, and there is more in that directory.
    if (::access((std::string(kShown) + "/uuid").c_str(), F_OK) == 0) return;
    if (shown.st_dev == ours.st_dev && shown.st_ino == ours.st_ino) return;      // a fork of a fork
    if (::mount(own.c_str(), kShown, nullptr, MS_BIND, nullptr) != 0) errno = 0;
}

}  // namespace guest
