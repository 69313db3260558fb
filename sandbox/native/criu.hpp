#pragma once
#include "wire.hpp"
#include <base/result.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandbox::native::criu {

// CRIU's own service protocol (its images/rpc.proto): one `criu swrk` process for each request, a message
// each way over a socket, and questions of CRIU's in between.

/// What a dump and a restore have in common, and each has of its own. Directories are descriptors of this
/// process.
struct Request {
    enum class Kind { dump, restore } kind = Kind::dump;
    int images = -1;  ///< the directory of CRIU's own files
    int work = -1;    ///< where the log is written, `log_name`
    std::string log_name;
    /// "mnt[KEY]:VALUE": mounts that the images do not hold. For a dump KEY is where it is inside and VALUE
    /// its name in the images, for a restore KEY is that name and VALUE a path outside. "file[MOUNT:INODE]"
    /// for a descriptor, both hexadecimal.
    std::vector<std::string> external;

    pid_t process = 0;    ///< dump: the tree's root
    std::string freezer;  ///< dump: the cgroup that holds all of the tree; frozen before, it is so afterwards

    std::string root;  ///< restore: a mount that becomes the tree's root
    struct Inherited {
        std::string key;  ///< as in `external` of the dump
        int fd = -1;
    };
    std::vector<Inherited> inherited;  ///< restore
};

/// Called once all of a tree is loaded and before any of it runs, with the host's number of its root. A
/// failure undoes the restore.
using Loaded = std::function<base::Status(pid_t)>;

/// How a request ended that did not succeed.
enum class Ended {
    refused,  ///< by CRIU; what it was about is as before
    broken,   ///< CRIU ended without an answer, perhaps in the middle of it
};

struct Failure {
    Ended how = Ended::refused;
    std::string words;  ///< of CRIU's log
};

/// Runs CRIU by `command`, which its own arguments follow; it dies with this process. Blocks until it has ended. `failure`
/// says more when the answer is false.
bool run(std::vector<std::string> const& command, Request const&, Loaded const& loaded, Failure& failure);

/// What matters in a log of CRIU's: the last errors before it gave up, once each.
std::string words_of(std::string const& log);

/// The message of a request. Exposed for its test.
wire::Message encode(Request const&);

/// An `userns-*.img` that gives the tree `count` ids from `first`: the only place where CRIU's images name
/// ids of the host.
std::string user_namespace_image(std::uint32_t first, std::uint32_t count);

/// A `mm-*.img` whose process can be looked at (PR_SET_DUMPABLE). A loaded process's memory counts as the host's to the kernel, so that
/// CRIU, which saves it next time with the rights of the sandbox's user namespace, may not look at one that denies it. Commands may not
/// all the same: they lack capabilities that process 1 has (ptrace(2), access mode checking). What is no such image stays as it is.
std::string dumpable_memory_image(std::string image);

/// What a `pagemap-*.img` counts on.
struct Pages {
    std::uint64_t file = 0;    ///< pages-<file>.img
    std::uint64_t bytes = 0;   ///< as many it has at least
};
/// Nothing for what is no such image, or one that is cut: CRIU finds that itself.
std::optional<Pages> pages_of(std::string_view image);

}  // namespace sandbox::native::criu
