#pragma once
#include <base/result.hpp>
#include <sandbox/sandbox.hpp>

namespace sandbox {

/// Where the guest's program is found inside.
inline constexpr char const* kGuestPath = "/berth-guest";

/// Makes the mount points a sandbox needs in the image's root file system, once, since sandboxes only read it. Blocks.
base::Status prepare_root(Template const& image);

}  // namespace sandbox
