#pragma once
#include "stats.hpp"
#include <base/unique_fd.hpp>

#include <string>

namespace bench {

/// The system calls that a durable write and a read cannot do without, on a directory.
class FileFloor {
  public:
    explicit FileFloor(std::string const& directory);
    /// A new file, write, fsync, rename over `name`, fsync of the directory.
    Clock::duration replace(std::string const& name, std::string const& bytes) const;
    /// Open, read to the end, close.
    Clock::duration read(std::string const& name, std::size_t expected) const;

  private:
    base::UniqueFd directory_;
};

}  // namespace bench
