#include "process_tree.hpp"

#include <base/files.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <sstream>

namespace bench {
namespace {

std::string proc(pid_t pid, char const* file) { return "/proc/" + std::to_string(pid) + "/" + file; }

std::vector<pid_t> all_processes() {
    std::vector<pid_t> pids;
    for (auto const& entry : std::filesystem::directory_iterator("/proc")) {
        auto const name = entry.path().filename().string();
        pid_t pid = 0;
        auto const [end, ec] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (ec == std::errc() && end == name.data() + name.size()) pids.push_back(pid);
    }
    return pids;
}

// /proc/PID/stat from its third field on: the second, the program's name, may hold anything.
struct Stat {
    pid_t parent = 0;
    double cpu_seconds = 0;
    int threads = 0;
};

std::optional<Stat> stat_of(pid_t pid) {
    auto const text = base::read_file(proc(pid, "stat"), 4096);
    if (!text) return std::nullopt;
    auto const name_end = text->rfind(')');
    if (name_end == text->npos) return std::nullopt;
    std::istringstream rest(text->substr(name_end + 1));
    std::vector<std::string> fields;
    for (std::string word; rest >> word;) fields.push_back(word);
    if (fields.size() < 18) return std::nullopt;
    Stat s;
    s.parent = std::atoi(fields[1].c_str());
    static double const ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    s.cpu_seconds = (std::atof(fields[11].c_str()) + std::atof(fields[12].c_str())) / ticks;
    s.threads = std::atoi(fields[17].c_str());
    return s;
}

// "Key:   123 kB"
std::uint64_t kilobytes(std::string const& path, std::string_view key) {
    auto const text = base::read_file(path, 1 << 20);
    if (!text) return 0;
    auto const at = text->find("\n" + std::string(key) + ":");
    auto const from = text->starts_with(std::string(key) + ":") ? 0 : at == text->npos ? text->npos : at + 1;
    if (from == text->npos) return 0;
    return std::strtoull(text->c_str() + from + key.size() + 1, nullptr, 10) << 10;
}

int number_in(std::string const& path) {
    auto const text = base::read_file(path, 64);
    return text ? std::atoi(text->c_str()) : 0;
}

}  // namespace

std::vector<pid_t> processes_naming(std::string const& text) {
    std::vector<pid_t> found;
    for (auto const pid : all_processes()) {
        if (pid == ::getpid()) continue;
        auto const command = base::read_file(proc(pid, "cmdline"), 1 << 20);
        if (command && command->find(text) != command->npos) found.push_back(pid);
    }
    return found;
}

std::vector<pid_t> tree_of(std::string const& text, std::vector<pid_t> const& others) {
    auto heads = processes_naming(text);
    heads.insert(heads.end(), others.begin(), others.end());
    std::set<pid_t> found(heads.begin(), heads.end());
    std::multimap<pid_t, pid_t> children;
    for (auto const pid : all_processes())
        if (auto const s = stat_of(pid)) children.emplace(s->parent, pid);
    std::vector<pid_t> open(heads);
    while (!open.empty()) {
        auto const parent = open.back();
        open.pop_back();
        auto const [first, last] = children.equal_range(parent);
        for (auto it = first; it != last; ++it)
            if (found.insert(it->second).second) open.push_back(it->second);
    }
    return {found.begin(), found.end()};
}

TreeUse use_of(std::vector<pid_t> const& pids) {
    TreeUse sum;
    for (auto const pid : pids)
        if (auto const s = stat_of(pid)) {
            ++sum.processes;
            sum.threads += s->threads;
            sum.cpu_seconds += s->cpu_seconds;
        }
    return sum;
}

std::uint64_t pss_of(std::vector<pid_t> const& pids) {
    std::uint64_t sum = 0;
    for (auto const pid : pids) sum += kilobytes(proc(pid, "smaps_rollup"), "Pss");
    return sum;
}

std::uint64_t rss_of(pid_t pid) { return kilobytes(proc(pid, "status"), "VmRSS"); }

std::uint64_t memory_available() { return kilobytes("/proc/meminfo", "MemAvailable"); }

int threads_now() {
    // "0.10 0.20 0.30 2/345 6789": running/existing
    auto const text = base::read_file("/proc/loadavg", 256);
    auto const slash = text ? text->find('/') : std::string::npos;
    return slash == std::string::npos ? 0 : std::atoi(text->c_str() + slash + 1);
}

int threads_at_most() {
    return std::min(number_in("/proc/sys/kernel/pid_max"), number_in("/proc/sys/kernel/threads-max"));
}

}  // namespace bench
