#pragma once
#include <base/result.hpp>

#include <map>
#include <string>
#include <vector>

namespace servers {

/// What a server's sandbox sees of the host, put together as one tree that is mounted into it: home and
/// workspace of its volume, and host paths. The tree's own directories are a read-only tmpfs, so that code
/// inside can neither fill the host's disk there nor plant a link where the host mounts.
struct ServerTree {
    std::string root;
    std::string home, workspace;           ///< host directories
    std::vector<std::string> read, write;  ///< host paths

    /// Blocks. errc::not_found names a host path that is not there.
    base::Status mount() const;
    void unmount() const;
    /// Path inside to path below the volume, for GuestSetup.
    std::map<std::string, std::string> binds() const;
};

}  // namespace servers
