#pragma once
#include "../runtime.hpp"

#include <memory>
#include <string>

namespace sandbox::native {

/// The kernel's own means as a `Runtime`: `berth-contain` starts sandboxes in namespaces, below filters
/// (sandbox/native). `directory` is the node's, `program` the installed berth-contain. errc::unavailable when
/// something is missing, in words that say what to do.
base::Result<std::shared_ptr<Runtime const>> open_runtime(std::string const& directory,
                                                          std::string const& program);

}  // namespace sandbox::native
