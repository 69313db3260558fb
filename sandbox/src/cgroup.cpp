#include "cgroup.hpp"

#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <sstream>
#include <thread>

namespace sandbox {

using base::errc;
using base::error;

namespace {

constexpr int kCpuPeriod = 100'000;      // microseconds
constexpr char const *kBackgroundShares = "64", *kNormalShares = "1024";    // v1; its default is the second
constexpr char const *kBackgroundWeight = "6", *kNormalWeight = "100";       // v2, likewise

std::uint64_t number(std::string_view text) {
    std::uint64_t n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
}

std::uint64_t read_number(std::string const& path) {
    auto text = base::read_file(path, 4096);
    return text ? number(*text) : 0;
}

/// "key N" lines.
std::uint64_t read_key(std::string const& path, std::string_view key) {
    auto text = base::read_file(path, 64 * 1024);
    if (!text) return 0;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ')
            return number(std::string_view(line).substr(key.size() + 1));
    return 0;
}

struct Hierarchies {
    std::string memory, pids, cpu, cpuacct, freezer, unified;
};

// Lines of mountinfo: "... <root> <mount point> ... - <type> <source> <super options>".
Hierarchies find_hierarchies(std::string const& mountinfo) {
    Hierarchies h;
    std::istringstream lines(mountinfo);
    for (std::string line; std::getline(lines, line);) {
        auto const dash = line.find(" - ");
        if (dash == line.npos) continue;
        std::istringstream head(line.substr(0, dash)), tail(line.substr(dash + 3));
        std::string id, parent, device, root, point, type, source, options;
        head >> id >> parent >> device >> root >> point;
        tail >> type >> source >> options;
        if (type == "cgroup2") h.unified = point;
        if (type != "cgroup") continue;
        std::istringstream words(options);
        for (std::string word; std::getline(words, word, ',');) {
            if (word == "memory") h.memory = point;
            if (word == "pids") h.pids = point;
            if (word == "cpu") h.cpu = point;
            if (word == "cpuacct") h.cpuacct = point;
            if (word == "freezer") h.freezer = point;
        }
    }
    return h;
}

bool has_words(std::string const& path, std::vector<std::string> const& wanted) {
    auto text = base::read_file(path, 4096);
    if (!text) return false;
    std::istringstream words(*text);
    std::set<std::string> found;
    for (std::string word; words >> word;) found.insert(word);
    return std::all_of(wanted.begin(), wanted.end(), [&](auto const& w) { return found.contains(w); });
}

base::Status enable(std::string const& directory) {
    if (has_words(directory + "/cgroup.subtree_control", {"memory", "pids", "cpu"})) return {};
    return base::write_knob(directory + "/cgroup.subtree_control", "+memory +pids +cpu");
}

}  // namespace

base::Result<CgroupTree> CgroupTree::prepare(std::string const& directory) {
    auto mountinfo = base::read_file("/proc/self/mountinfo", 4 << 20);
    if (!mountinfo) return mountinfo.error();
    return prepare_in(*mountinfo, directory);
}

base::Result<CgroupTree> CgroupTree::prepare_in(std::string const& mountinfo, std::string const& directory) {
    auto const h = find_hierarchies(mountinfo);
    std::string const group = "/berth-" + base::sha256_hex(directory).substr(0, 12);
    CgroupTree tree;
    if (!h.memory.empty() && !h.pids.empty()) {
        tree.memory = h.memory + group;
        tree.pids = h.pids + group;
        if (!h.cpu.empty()) tree.cpu = h.cpu + group;
        if (!h.cpuacct.empty()) tree.cpuacct = h.cpuacct + group;
        if (!h.freezer.empty()) {
            tree.freezer = h.freezer + group;
        } else if (!h.unified.empty()) {
            tree.freezer = h.unified + group;
            tree.freezer_kind = Freezer::Kind::v2;
        } else {
            return error(errc::unavailable, "no freezer cgroup is mounted");
        }
        for (auto const& parent : tree.parents())
            if (auto made = base::sys::mkdir(parent, 0755); !made) return made.error();
        return tree;
    }
    if (h.unified.empty() || !has_words(h.unified + "/cgroup.controllers", {"memory", "pids", "cpu"}))
        return error(errc::unavailable, "no cgroup tree with the memory, pids and cpu controllers is mounted");
    tree.v2 = true;
    tree.freezer_kind = Freezer::Kind::v2;
    tree.memory = tree.pids = tree.cpu = tree.freezer = h.unified + group;
    if (auto on = enable(h.unified); !on)
        return base::wrap(on.error(), "enable the memory, pids and cpu controllers (inside a container the root group "
                                      "must hold no process)");
    if (auto made = base::sys::mkdir(tree.memory, 0755); !made) return made.error();
    if (auto on = enable(tree.memory); !on) return on.error();
    return tree;
}

std::vector<std::string> CgroupTree::parents() const {
    std::vector<std::string> out;
    for (auto const* path : {&memory, &pids, &cpu, &cpuacct, &freezer})
        if (!path->empty() && std::find(out.begin(), out.end(), *path) == out.end()) out.push_back(*path);
    return out;
}

std::set<std::string> CgroupTree::children() const {
    std::set<std::string> out;
    for (auto const& parent : parents()) {
        std::error_code ec;
        for (std::filesystem::directory_iterator it(parent, ec), end; !ec && it != end; it.increment(ec))
            if (it->is_directory(ec)) out.insert(it->path().filename());
    }
    return out;
}

void CgroupTree::remove() const {
    for (auto const& parent : parents()) (void)base::sys::rmdir(parent);
}

Cgroup::Cgroup(CgroupTree const& tree, std::string const& name) : v2_(tree.v2) {
    auto const below = [&](std::string const& parent) { return parent.empty() ? "" : parent + "/" + name; };
    memory_ = below(tree.memory);
    pids_ = below(tree.pids);
    cpu_ = below(tree.cpu);
    cpuacct_ = below(tree.cpuacct);
    for (auto const& parent : tree.parents()) directories_.push_back(below(parent));
    freezer_ = Freezer(below(tree.freezer), tree.freezer_kind);
}

base::Status Cgroup::create(Limits const& limits) const {
    for (auto const& directory : directories_)
        if (auto made = base::sys::mkdir(directory, 0755); !made) return made;
    return set(limits);
}

base::Status Cgroup::set(Limits const& limits) const {
    auto const memory = std::to_string(limits.memory_bytes);
    auto const pids = std::to_string(limits.pids);
    // The kernel refuses quotas below one millisecond.
    auto const quota = std::to_string(std::max(1000l, std::lround(limits.cpus * kCpuPeriod)));
    if (v2_) {
        if (auto s = base::write_knob(memory_ + "/memory.max", memory); !s) return s;
        // Half a sandbox is of no use to anyone: all of it ends, and the reason can be told.
        if (auto s = base::write_knob(memory_ + "/memory.oom.group", "1"); !s) return s;
        (void)base::write_knob(memory_ + "/memory.swap.max", "0");          // not there without swap
        if (auto s = base::write_knob(pids_ + "/pids.max", pids); !s) return s;
        return base::write_knob(cpu_ + "/cpu.max", quota + " " + std::to_string(kCpuPeriod));
    }
    if (auto s = base::write_knob(memory_ + "/memory.limit_in_bytes", memory); !s) return s;
    (void)base::write_knob(memory_ + "/memory.swappiness", "0");
    if (auto s = base::write_knob(pids_ + "/pids.max", pids); !s) return s;
    if (cpu_.empty()) return {};
    if (auto s = base::write_knob(cpu_ + "/cpu.cfs_period_us", std::to_string(kCpuPeriod)); !s) {
        // A kernel without CFS bandwidth has no such file: shares are all it offers.
        if (s.error().code.value() == ENOENT) return {};
        return s;
    }
    return base::write_knob(cpu_ + "/cpu.cfs_quota_us", quota);
}

void Cgroup::set(Pace pace) const {
    if (cpu_.empty()) return;
    bool const background = pace == Pace::background;
    if (v2_) (void)base::write_knob(cpu_ + "/cpu.weight", background ? kBackgroundWeight : kNormalWeight);
    else (void)base::write_knob(cpu_ + "/cpu.shares", background ? kBackgroundShares : kNormalShares);
}

base::Result<Usage> Cgroup::usage() const {
    Usage u;
    auto memory = base::read_file(memory_ + (v2_ ? "/memory.current" : "/memory.usage_in_bytes"), 64);
    if (!memory) return memory.error();
    u.memory_bytes = number(*memory);
    u.pids = static_cast<int>(read_number(pids_ + "/pids.current"));
    u.cpu_ms = v2_                 ? read_key(cpu_ + "/cpu.stat", "usage_usec") / 1000
               : cpuacct_.empty() ? 0
                                  : read_number(cpuacct_ + "/cpuacct.usage") / 1'000'000;
    return u;
}

std::uint64_t Cgroup::oom_kills() const {
    return read_key(memory_ + (v2_ ? "/memory.events" : "/memory.oom_control"), "oom_kill");
}

std::uint64_t Cgroup::refused_processes() const { return read_key(pids_ + "/pids.events", "max"); }

base::Result<base::UniqueFd> Cgroup::oom_event() const {
    if (v2_) return base::UniqueFd();
    base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return base::errno_error("eventfd");
    auto control = base::sys::open(memory_ + "/memory.oom_control", O_RDONLY);
    if (!control) return control.error();
    auto const line = std::to_string(event.get()) + " " + std::to_string(control->get());
    if (auto s = base::write_knob(memory_ + "/cgroup.event_control", line); !s) return s.error();
    return event;
}

std::vector<pid_t> Cgroup::processes() const {
    // The union: a process on its way in has entered some groups and not yet the others.
    std::set<pid_t> pids;
    for (auto const& directory : directories_) {
        auto text = base::read_file(directory + "/cgroup.procs", 1 << 20);
        if (!text) continue;
        std::istringstream lines(*text);
        for (pid_t pid; lines >> pid;)
            if (pid > 0) pids.insert(pid);
    }
    return {pids.begin(), pids.end()};
}

base::Status Cgroup::kill_all(base::milliseconds limit) const {
    auto const end = base::Clock::now() + limit;
    std::set<pid_t> seen;
    for (auto pause = base::milliseconds(1);; pause = std::min(2 * pause, base::milliseconds(20))) {
        auto const pids = processes();
        if (pids.empty()) break;
        // The signal first: what is frozen then dies without another instruction of its own.
        for (pid_t pid : pids) {
            ::kill(pid, SIGKILL);
            seen.insert(pid);
        }
        (void)freezer_.thaw();
        if (base::Clock::now() > end)
            return error(errc::timed_out, std::to_string(pids.size()) + " processes did not end after SIGKILL, first " +
                                              std::to_string(pids.front()));
        std::this_thread::sleep_for(pause);
    }
    // They are init's children. Where this server is the first process of a container, that is us.
    for (pid_t pid : seen)
        while (::waitpid(pid, nullptr, WNOHANG) < 0 && errno == EINTR) {}
    return {};
}

base::Status Cgroup::remove(base::milliseconds limit) const {
    auto const end = base::Clock::now() + limit;
    for (auto const& directory : directories_) {
        for (;;) {
            auto removed = base::sys::rmdir(directory);
            if (removed) break;
            if (base::Clock::now() > end) return removed;
            std::this_thread::sleep_for(base::milliseconds(2));
        }
    }
    return {};
}

}  // namespace sandbox
