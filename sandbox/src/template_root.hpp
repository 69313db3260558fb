#pragma once
#include <base/result.hpp>
#include <sandbox/sandbox.hpp>

#include <string>
#include <vector>

namespace sandbox {

/// Where the guest's program is found inside.
inline constexpr char const* kGuestPath = "/berth-guest";

/// Makes the mount points a sandbox needs in the image's root file system, once, since sandboxes only read it. Blocks.
base::Status prepare_root(Template const& image);

/// The host's directories that a template borrows, read-only, at the same place inside: programs, for the one named "host", and
/// of /etc public certificates only, since the machine's own holds secrets. None for an image.
std::vector<std::string> borrowed_directories(Template const& image);

}  // namespace sandbox
