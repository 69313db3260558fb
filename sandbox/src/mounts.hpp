#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>
#include <vector>

namespace sandbox::mounts {

/// Mounts a small file system in memory there, whose later mounts reach the sandboxes. Its peer group is its own even below
/// a shared root, so that nothing is mounted twice elsewhere. Fine when it is one already. In memory since slots end with
/// the machine anyway, and making a file costs 5 us instead of 160.
base::Status make_shared(std::string const& directory);
/// A read-only view of `directory` upon itself: what is mounted into it later is as writable as it is, the rest cannot be
/// written from inside, so sandboxed code neither fills the host's disk nor plants a link where the host will mount.
base::Status seal(std::string const& directory);
/// Binds `source` onto the directory `target`, neither following a link at its end.
base::Status attach(std::string const& source, std::string const& target);
/// Unmounts everything at and below `directory`. What stays busy beyond `limit` is detached lazily. Blocks.
base::Status detach_all(std::string const& directory, base::milliseconds limit);
/// Mount points at and below `directory`, deepest first.
base::Result<std::vector<std::string>> below(std::string const& directory);

}  // namespace sandbox::mounts
