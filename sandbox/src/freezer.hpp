#pragma once
#include <base/result.hpp>

#include <string>

namespace sandbox {

/// Stops and resumes every process of one cgroup by writing a kernel knob: microseconds, no process, no wait.
/// A v1 freezer reaches FROZEN a moment after the write (`settled` tells); what is still on its way stops by itself.
/// It does not stop memory from being charged, nor a SIGKILL from being queued.
class Freezer {
  public:
    enum class Kind { v1, v2 };
    Freezer() = default;
    Freezer(std::string directory, Kind kind) : directory_(std::move(directory)), kind_(kind) {}

    base::Status freeze() const;
    base::Status thaw() const;
    base::Result<bool> settled() const;         ///< everything inside has stopped
    std::string const& directory() const { return directory_; }

  private:
    base::Status set(bool frozen) const;
    std::string directory_;
    Kind kind_ = Kind::v1;
};

}  // namespace sandbox
