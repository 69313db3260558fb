#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace workspace {

inline constexpr int kMaxForks = 16;  ///< of one call

/// A workspace as it was at one instant: always its files, and its memory where that could be taken.
struct SnapshotView {
    std::string id, name, workspace;
    bool memory = false;
    std::string note;  ///< why there is no memory
    std::uint64_t files_bytes = 0;   ///< on the disk; what copies share counts for each of them
    std::uint64_t memory_bytes = 0;  ///< of the image, holes included
    std::int64_t created_ms = 0;
};

struct Snapped {
    SnapshotView snapshot;
    std::vector<std::string> dropped;  ///< what the workspace lost by it, for people: "3 network connections"
    double ms = 0;
    double still_ms = 0;  ///< of these, how long nothing ran inside
};

}  // namespace workspace
