#pragma once
#include <base/result.hpp>
#include <sys/types.h>

#include <string>
#include <string_view>

// Small files of our own: configuration, tokens, records, cgroup knobs. Never a client's path: see beneath.hpp.
namespace base {

/// The whole file, refused with errc::limit beyond `max` bytes.
Result<std::string> read_file(std::string const& path, std::size_t max = 1 << 20);
/// Replaces by write, fsync, rename and directory fsync: a crash leaves the old file or the new one.
Status replace_file(std::string const& path, std::string_view bytes, mode_t mode);
/// One write(2) to an existing file, as kernel knobs want it.
Status write_knob(std::string const& path, std::string_view value);
/// Removes a tree of ours without following links or crossing into mounts: a mount below makes it fail with EBUSY.
Status remove_tree(std::string const& path);

}  // namespace base
