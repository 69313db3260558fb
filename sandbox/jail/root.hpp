#pragma once
#include <base/result.hpp>

namespace sandbox::jail {

/// A mount namespace of its own, whose root is in memory: the host's programs and fonts, read-only, a few
/// devices, and room for temporary files. Does not stop: reading whatever /usr shows to everyone.
base::Status enter_root();
/// Once in the jail's process namespace.
base::Status mount_proc();

}  // namespace sandbox::jail
