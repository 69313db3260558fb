#pragma once
#include <string>
#include <vector>

namespace guest {

/// What commands are denied beside what the whole sandbox is: where the runtime leaves that to process 1, which has to do more
/// itself. Under gVisor, whose kernel is the sandbox's own, there is nothing of it.
class Confinement {
  public:
    /// From BERTH_CONFINE, which is removed from the environment: JSON with `filter`, a seccomp program as hexadecimal struct sock_filter, and
    /// `capabilities`, the numbers of those that commands keep. What cannot be read ends the process: better none than a weak one.
    static Confinement from_environment();

    /// Empty: the guest's own choice.
    std::vector<int> const& capabilities() const { return capabilities_; }
    /// In a child that is about to execute a command: system calls only. 0, or the errno.
    int apply() const;

  private:
    std::vector<int> capabilities_;
    std::string filter_;                         // struct sock_filter, one after the other
};

}  // namespace guest
