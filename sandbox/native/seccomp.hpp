#pragma once
#include <base/result.hpp>

#include <string>

namespace sandbox::native {

// The system calls that code inside can reach at all (seccomp_policy.hpp). Calls of other architectures, 32 bit ones included, do
// not exist. Does not stop: misuse of what is allowed, and flaws in those calls, which is what gVisor is for.

/// For this process and all that it starts, for good. Needs no_new_privs.
base::Status filter_system_calls();
/// The further filter for commands, as struct sock_filter in hexadecimal, which the guest puts on each.
base::Result<std::string> command_filter();

}  // namespace sandbox::native
