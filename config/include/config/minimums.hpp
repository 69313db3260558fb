#pragma once
#include <cstdint>

// The least of each limit. berth.yaml, servers.json and workspace_create all refuse what is below, so that no default and no
// ceiling is one that nobody could ask for.
namespace config {

inline constexpr std::uint64_t kMinMemoryBytes = 64ull << 20;    ///< gVisor's own kernel and the guest take half of it
inline constexpr std::uint64_t kMinDiskBytes = 32ull << 20;      ///< room for a file system and its journal
inline constexpr double kMinCpus = 0.1;                          ///< below it, a first answer takes seconds
inline constexpr int kMinPids = 64;                              ///< a shell, a build tool, and the threads of a run-time like Node's

}  // namespace config
