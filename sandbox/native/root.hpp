#pragma once
#include "spec.hpp"

#include <base/result.hpp>

#include <array>
#include <span>

namespace sandbox::native {

// The mount namespace: what the sandbox finds at each path. Put together in two parts, since what belongs to the host can
// only be mounted with the host's rights, and what must not be trusted with them only inside.
// Does not stop: writes below the volume, and programs of the template being what they are.

/// Where the guest's program is found inside.
inline constexpr char const* kGuestProgram = "/berth-guest";

/// Where the root is put together, below Spec::directory.
inline constexpr char const* kRoot = "root";

/// Character devices that every program expects, of the host's /dev, since nobody inside may make one.
inline constexpr std::array kDevices{"null", "zero", "full", "random", "urandom", "tty"};

/// What of /proc is hidden inside: files by the host's /dev/null, directories by an empty one. Not every kernel has all of them.
std::span<char const* const> hidden_paths();

/// Outside, and in the host's mount namespace: the memory that the sandbox writes to, for whoever saves it.
base::Status mount_memory(Spec const&);
/// Outside: leaves the host's mount namespace, and goes to the slot's directory, which nobody inside could find by its path. The
/// following steps work from there. Later host mounts still arrive here, none of ours there.
base::Status leave_host_mounts(Spec const&);
/// Outside: the template under an overlay that writes to memory, all of it with the ids of `user_namespace`, at kRoot.
base::Status assemble_template(Spec const&, int user_namespace);
/// That, and in it the slot's /berth, the guest's program and the binds.
base::Status assemble_root(Spec const&, int user_namespace);
/// Inside, in all its namespaces but the mounts' own: takes a copy of the mounts, adds /proc, /dev, /tmp and what else has to belong
/// to the sandbox, makes the assembled root its /, and lets go of everything else.
base::Status enter_root();

}  // namespace sandbox::native
