#pragma once
#include <base/result.hpp>

#include <chrono>
#include <cstdint>
#include <string>

// A second volume of the same content. Everything here blocks.
namespace workspace::volume_directory {

struct Copy {
    std::uint64_t bytes = 0;  ///< that the copy takes on the disk; shared ones count
    bool shared = false;      ///< by reflink: both name the same blocks until one changes them
};

/// Makes the new directory `to` a volume like the one in `from`, whole and durable but not mounted. A mounted
/// one is copied as it is at one instant: its file system stands still meanwhile, so writers wait. That of a
/// plain directory does not, and its writers have to be stopped by the caller.
/// Leaves nothing behind when it fails. errc::limit: no space. errc::timed_out: it was not copied by `until`, which is looked at
/// now and then; a disk that does not answer holds it up all the same.
using Deadline = std::chrono::steady_clock::time_point;
base::Result<Copy> copy(std::string const& from, std::string const& to, Deadline until = Deadline::max());

/// Lets a file system go on that a killed server left standing still. A no-op otherwise.
void let_go_on(std::string const& directory);

/// Gives an empty open file the content of another: by reflink where the file system can (true), else its
/// data without its holes (false).
base::Result<bool> copy_file(int from, int to, std::uint64_t size, std::string const& what, Deadline until);

/// The same tree: links, hard links, special names, owners, modes, times, extended attributes. Of special
/// files only FIFOs. `except` is a name at the top to leave out.
base::Status copy_tree(std::string const& from, std::string const& to, std::string const& except,
                       std::uint64_t& bytes, Deadline until);

/// errc::timed_out once it is past.
base::Status in_time(Deadline until);

}  // namespace workspace::volume_directory
