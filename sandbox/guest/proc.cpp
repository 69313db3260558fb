#include "proc.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

namespace guest {
namespace {

struct Entry {
    pid_t pid = 0, parent = 0, session = 0;
    char state = 0;
};

std::string slurp(std::string const& path, std::size_t max = 1 << 20) {
    std::string out;
    int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return out;
    char chunk[8192];
    ssize_t n;
    while (out.size() < max && (n = ::read(fd, chunk, sizeof chunk)) > 0)
        out.append(chunk, static_cast<std::size_t>(n));
    ::close(fd);
    return out;
}

void each_number(std::string const& directory, std::function<void(int)> const& visit) {
    DIR* dir = ::opendir(directory.c_str());
    if (!dir) return;
    while (dirent* entry = ::readdir(dir))
        if (int const n = std::atoi(entry->d_name); n > 0 || std::strcmp(entry->d_name, "0") == 0) visit(n);
    ::closedir(dir);
}

std::vector<Entry> all_processes() {
    std::vector<Entry> out;
    each_number("/proc", [&](int pid) {
        auto const stat = slurp("/proc/" + std::to_string(pid) + "/stat", 4096);
        auto const name_end = stat.rfind(')');      // the program's name may hold anything
        Entry e;
        e.pid = pid;
        int group = 0;
        if (name_end == stat.npos || std::sscanf(stat.c_str() + name_end + 1, " %c %d %d %d", &e.state, &e.parent,
                                                 &group, &e.session) != 4)
            return;
        if (e.state != 'Z' && e.state != 'X') out.push_back(e);
    });
    return out;
}

bool carries(pid_t pid, std::string const& assignment) {
    auto const environment = slurp("/proc/" + std::to_string(pid) + "/environ");
    std::string_view rest = environment;
    while (!rest.empty()) {
        auto const end = rest.find('\0');
        if (rest.substr(0, end) == assignment) return true;
        if (end == rest.npos) break;
        rest.remove_prefix(end + 1);
    }
    return false;
}

std::string address_text(std::string_view hex, bool v6) {
    unsigned char bytes[16] = {};
    std::size_t const words = v6 ? 4 : 1;
    if (hex.size() != words * 8) return {};
    for (std::size_t w = 0; w < words; ++w) {       // each word in the machine's byte order
        auto const value =
            static_cast<std::uint32_t>(std::strtoul(std::string(hex.substr(w * 8, 8)).c_str(), nullptr, 16));
        std::memcpy(bytes + w * 4, &value, 4);
    }
    char text[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes, text, sizeof text);
    return text;
}

void read_table(char const* path, bool v6, std::multimap<std::string, Listener>& by_inode) {
    std::istringstream lines(slurp(path, 4 << 20));
    std::string line;
    std::getline(lines, line);                      // the heading
    while (std::getline(lines, line)) {
        std::istringstream fields(line);
        std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
        fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
        auto const colon = local.find(':');
        if (state != "0A" || colon == local.npos) continue;
        Listener l;
        l.port = static_cast<int>(std::strtoul(local.c_str() + colon + 1, nullptr, 16));
        l.address = address_text(std::string_view(local).substr(0, colon), v6);
        by_inode.emplace(inode, std::move(l));
    }
}

}  // namespace

std::vector<pid_t> tree_members(pid_t leader, std::string const& command_id) {
    auto const entries = all_processes();
    pid_t const self = ::getpid();
    auto const assignment = std::string(kCommandVariable) + "=" + command_id;
    std::set<pid_t> members;
    for (auto const& e : entries) {
        if (e.pid == self) continue;
        if (leader > 0 && (e.pid == leader || e.session == leader)) members.insert(e.pid);
        else if (e.parent == self && carries(e.pid, assignment)) members.insert(e.pid);
    }
    for (bool grew = true; grew;) {
        grew = false;
        for (auto const& e : entries)
            if (e.pid != self && members.contains(e.parent)) grew |= members.insert(e.pid).second;
    }
    return {members.begin(), members.end()};
}

std::vector<Listener> listeners() {
    std::multimap<std::string, Listener> by_inode;
    read_table("/proc/net/tcp", false, by_inode);
    read_table("/proc/net/tcp6", true, by_inode);
    if (by_inode.empty()) return {};

    pid_t const self = ::getpid();
    std::set<std::string> own;
    each_number("/proc", [&](int pid) {
        auto const directory = "/proc/" + std::to_string(pid);
        each_number(directory + "/fd", [&](int fd) {
            char target[64];
            ssize_t const n =
                ::readlink((directory + "/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1);
            if (n < 10 || std::strncmp(target, "socket:[", 8) != 0) return;
            std::string const inode(target + 8, static_cast<std::size_t>(n) - 9);
            if (pid == self) {
                own.insert(inode);
                return;
            }
            auto const [first, last] = by_inode.equal_range(inode);
            for (auto it = first; it != last; ++it) {
                if (it->second.pid != 0) continue;      // shared after a fork: the first, usually the parent
                it->second.pid = pid;
                it->second.program = slurp(directory + "/comm", 64);
                while (!it->second.program.empty() && it->second.program.back() == '\n')
                    it->second.program.pop_back();
            }
        });
    });
    std::vector<Listener> out;
    for (auto& [inode, listener] : by_inode)
        if (!own.contains(inode)) out.push_back(std::move(listener));
    std::sort(out.begin(), out.end(), [](auto const& a, auto const& b) {
        return std::tie(a.port, a.address) < std::tie(b.port, b.address);
    });
    return out;
}

}  // namespace guest
