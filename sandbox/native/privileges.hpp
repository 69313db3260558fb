#pragma once
#include <base/result.hpp>

#include <vector>

namespace sandbox::native {

// What the sandbox's root may do in its own namespaces. None of it holds for the host.
// Does not stop: root inside from doing to the sandbox's own files and processes what it likes.

/// What commands keep, by number: package managers, compilers and the like need them.
std::vector<int> const& command_capabilities();
/// What the guest, process 1, keeps beside those: to bind the volume and name the host, to raise its limits, to look at the
/// processes of every user inside, and to take all this away from commands.
std::vector<int> const& guest_capabilities();

/// No program that is executed from now on gains anything by it: setuid bits and file capabilities are without effect.
base::Status no_new_privileges();
/// Leaves what the guest keeps, to this process and to whatever it executes.
base::Status drop_capabilities();

/// Open files, core files, locked memory, message queues: what one process may hold. Memory and processes are the cgroup's.
/// Does not stop: a process that lowers its limit of core files to 0 and crashes, which runs the host's program for crashes where
/// /proc/sys/kernel/core_pattern names one.
base::Status limit_resources();

}  // namespace sandbox::native
