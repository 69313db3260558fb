#pragma once
#include <registry/registry.hpp>
#include <sandbox/guest.hpp>

#include <optional>
#include <vector>

namespace preview {

/// The command whose end may be why a port is silent: the newest in the background that failed of itself within the last
/// six hours and was not begun again since. A command that somebody waited for, such as a grep that found nothing, is
/// none, nor is one that was stopped. Pure.
std::optional<sandbox::ProcessView> explaining_crash(std::vector<sandbox::ProcessView> const& seen,
                                                     std::vector<registry::ProcessRecord> const& records,
                                                     std::int64_t now_ms);

}  // namespace preview
