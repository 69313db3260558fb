#pragma once
#include "freezer.hpp"

#include <base/asio.hpp>
#include <base/unique_fd.hpp>
#include <sandbox/sandbox.hpp>
#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

namespace sandbox {

/// Where this machine's controllers are, and our group below each: <controller>/berth-<hash of DIR>. A machine has v1
/// hierarchies (memory, pids and freezer required, cpu and cpuacct used when there), one v2 tree, or v1 with an empty v2
/// tree beside it.
struct CgroupTree {
    bool v2 = false;
    std::string memory, pids, cpu, cpuacct, freezer;    ///< our group's directory; "" when there is no such controller
    Freezer::Kind freezer_kind = Freezer::Kind::v1;

    /// Finds them and makes our groups. errc::unavailable names what is missing.
    static base::Result<CgroupTree> prepare(std::string const& directory);
    /// Likewise, where /proc/self/mountinfo reads as `mountinfo`.
    static base::Result<CgroupTree> prepare_in(std::string const& mountinfo, std::string const& directory);
    std::vector<std::string> parents() const;           ///< each once
    std::set<std::string> children() const;             ///< names of the slots that have a group
    void remove() const;                                ///< our groups, where they are empty
};

/// How much of the processor a group gets beside others that want it too: what is made for later leaves it to those who work.
/// Never nothing: it may hold a lock of the kernel that they wait for.
enum class Pace { background, normal };

/// One sandbox's group in every hierarchy. A value: copies mean the same group.
class Cgroup {
  public:
    Cgroup() = default;
    Cgroup(CgroupTree const& tree, std::string const& name);

    base::Status create(Limits const&) const;
    base::Status set(Limits const&) const;
    void set(Pace) const;                      ///< best effort: not every machine has the controller
    std::vector<std::string> const& directories() const { return directories_; }
    Freezer const& freezer() const { return freezer_; }
    base::Result<Usage> usage() const;
    std::uint64_t oom_kills() const;
    std::uint64_t refused_processes() const;   ///< how often the limit on processes said no
    std::vector<pid_t> processes() const;
    /// v1: readable when the group runs out of memory. v2 needs none: the kernel ends the whole group.
    base::Result<base::UniqueFd> oom_event() const;

    /// SIGKILL to everything, thaw, until nothing is left: errc::timed_out after `limit`. Blocks.
    base::Status kill_all(base::milliseconds limit) const;
    base::Status remove(base::milliseconds limit) const;   ///< blocks while the kernel lets go of the last task

  private:
    bool v2_ = false;
    std::string memory_, pids_, cpu_, cpuacct_;
    std::vector<std::string> directories_;
    Freezer freezer_;
};

}  // namespace sandbox
