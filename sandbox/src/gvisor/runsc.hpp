#pragma once
#include "../runtime.hpp"

#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>
#include <vector>

namespace sandbox::gvisor {

/// The installed runsc. `build` changes whenever the program does; images and running sandboxes of another are not reused.
struct Runsc {
    std::string program;
    std::string build;
    std::string root;                            ///< its state directory, DIR/runsc

    /// errc::unavailable when it is not installed. Starts no process.
    static base::Result<Runsc> find(std::string const& directory);
    std::vector<std::string> command(Slot const& slot) const;
};

/// Starts the slot's sandbox in its cgroup and hands it the FIFOs: the pid of the sentry once it is there. So is the bundle
/// before. On failure nothing may be left running, or all of it: the caller dismantles the slot.
base::Task<base::Result<pid_t>> boot(Runsc runsc, Slot slot, Start start, std::vector<std::string> cgroups,
                                     base::milliseconds limit);

inline constexpr int kOldestRelease = 20230801;  // the first with systrap as it is now
inline constexpr char const* kHowToInstall =
    "install runsc from bookworm-backports or https://gvisor.dev/docs/user_guide/install (scripts/setup)";

/// "20240729" of `runsc --version`, 0 when it cannot be told.
int release_date(std::string const& version_text);

/// errc::unavailable, with the version, the one needed and how to get it, when the program is older. Asks the program once for
/// each build, which blocks for the start of a process; a build that was found new enough is noted in the file `known`.
base::Status check_release(Runsc const&, std::string const& known);

/// Removes what runsc keeps about a sandbox that is gone. Cheaper than `runsc delete`, which is a process.
void forget(std::string const& root, std::string const& id);
/// Ids of the sandboxes that runsc keeps files about.
std::vector<std::string> remembered(std::string const& root);

}  // namespace sandbox::gvisor
