#pragma once
#include <base/json.hpp>
#include <base/result.hpp>
#include <sandbox/sandbox.hpp>

#include <string>

namespace sandbox::gvisor {

/// The OCI specification of a slot. Made from our own settings and nothing else: what a client chooses (environment, limits,
/// volume, network) is given later, through the guest and the cgroup.
base::Json make_bundle(Template const& image, std::string const& guest_binary, std::string const& slot_mount);

}  // namespace sandbox::gvisor
