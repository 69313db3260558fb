#pragma once
#include "criu.hpp"
#include "order.hpp"
#include "spec.hpp"
#include <base/result.hpp>

namespace sandbox::native {

// A sandbox's memory to files and back, by CRIU. The images are CRIU's own, `upper.tar` for what the sandbox
// wrote over its template, and `sandbox.json` for what a load has to know: which ids they name, the mounts
// that come from outside, and the guest's two descriptors. Does not keep: connections to the outside, of
// which the guest has none.

/// Everything below Order::process, which is frozen before and after. `how` says whether a failed save left
/// it whole.
base::Status save(Spec const&, Order const&, criu::Ended& how);

/// A sandbox of this Spec out of images, in this process's cgroup. Its user namespace's ids are those of
/// Order::process. Nothing of it runs before `loaded` agrees. Changes its caller's mount namespace and
/// directory.
base::Status load(Spec const&, Order const&, criu::Loaded const& loaded);

}  // namespace sandbox::native
