#pragma once
#include <base/result.hpp>

#include <sys/types.h>

namespace sandbox::native {

// Process, network, System V and POSIX message, host name and cgroup namespaces: inside there are only the
// sandbox's own processes, a loopback device and no other, nobody's shared memory, and no name of the host's.
// Does not stop: reading what /proc shows of the whole machine (load, memory, processors), which masks in
// root.cpp narrow.

/// As fork, into new namespaces of each kind but the mounts': those it still shares with its caller.
base::Result<pid_t> fork_into_namespaces();
/// As fork, into a new user namespace alone.
base::Result<pid_t> fork_into_user_namespace();
/// Brings the loopback device up: 127.0.0.1 and ::1.
base::Status bring_up_loopback();
base::Status name_host(char const* name);
/// Takes hold of a session keyring of its own, so that the host's is not inherited.
base::Status leave_keyring();

/// How many namespaces of each kind there may be below the user namespace that this process is in. None, once
/// it has its own, should a flaw in the filter ever let somebody ask.
base::Status limit_namespaces(unsigned most);
/// The same from outside, below that of process `pid`.
base::Status limit_namespaces_of(pid_t pid, unsigned most);

/// What this process and those it starts belong to is the root of what they see of cgroups.
base::Status hide_cgroups();

}  // namespace sandbox::native
