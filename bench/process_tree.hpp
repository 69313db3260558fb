#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

// What /proc says about processes.
namespace bench {

/// Processes with `text` in an argument, other than ourselves.
std::vector<pid_t> processes_naming(std::string const& text);

struct TreeUse {
    int processes = 0, threads = 0;
    double cpu_seconds = 0;  ///< user and system, of the processes that live now
};
/// Those that name `text` and `others`, and all their descendants.
std::vector<pid_t> tree_of(std::string const& text, std::vector<pid_t> const& others = {});
TreeUse use_of(std::vector<pid_t> const&);
/// Proportional set size, so that shared pages count once; bytes.
std::uint64_t pss_of(std::vector<pid_t> const&);
/// VmRSS; bytes.
std::uint64_t rss_of(pid_t);
/// MemAvailable of the machine; bytes.
std::uint64_t memory_available();
/// Threads of the whole machine, and how many there can be.
int threads_now();
int threads_at_most();

}  // namespace bench
