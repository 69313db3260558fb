#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <string>

namespace registry {

/// Takes DIR/lock until the descriptor is closed, or the process ends however it does: by flock(2), as `flock DIR/lock` of a
/// script would take it. errc::busy names the owner.
base::Result<base::UniqueFd> lock_directory(std::string const& directory);

}  // namespace registry
