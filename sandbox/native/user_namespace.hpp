#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <sys/types.h>

#include <cstdint>

namespace sandbox::native {

// Root inside is an ordinary user outside, of a number that nobody else has. Its capabilities hold for what belongs to its own
// namespaces and for nothing of the host.
// Does not stop: system calls from reaching code of the kernel that only root could reach before there were user namespaces.
// That is what the filter and the dropped capabilities are for.

/// From outside, by one who is root there: gives process `pid`, in a user namespace without a map, `count` ids from `first`.
base::Status map_ids(pid_t pid, std::uint32_t first, std::uint32_t count);
/// The namespace of a process, for mounts that are to show its ids.
base::Result<base::UniqueFd> user_namespace_of(pid_t pid);
/// Inside, once ids are mapped: root there, without the groups that were inherited.
base::Status become_root();

}  // namespace sandbox::native
