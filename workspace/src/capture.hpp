#pragma once
#include "impl.hpp"

namespace workspace {

/// Files and memory of a workspace at one instant, on the disk and named by no record yet: what a crash
/// leaves of it is removed by the next start.
struct Workspaces::Impl::Captured {
    std::string volume;
    bool copied = false;  ///< the volume is there
    std::uint64_t files_bytes = 0;
    std::optional<sandbox::ImageInfo> image;  ///< of the workspace's own lineage, sealed for it
    std::string why;                          ///< there is no image
    std::vector<std::string> dropped;
    double still_ms = 0;
};

}  // namespace workspace
