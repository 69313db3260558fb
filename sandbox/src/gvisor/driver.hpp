#pragma once
#include "../runtime.hpp"

#include <memory>

namespace sandbox::gvisor {

/// gVisor as a `Runtime`: `runsc` starts sandboxes, and their sentries are spoken to directly afterwards. `directory` is the
/// node's. errc::unavailable when runsc is missing or too old, in words that say what to do. May block for the start of a process.
base::Result<std::shared_ptr<Runtime const>> open_runtime(std::string const& directory);

}  // namespace sandbox::gvisor
