#pragma once
#include <sys/types.h>

#include <cstdint>

namespace base {

/// When a process started, in the kernel's own count: with its number, what tells it from a later process of that number.
/// 0 when there is no such process, or it has ended and only its number is left.
std::uint64_t process_start(pid_t pid);

/// Whether the process of this pidfd has ended, reaped or not. To be asked after each wait of Asio's for the pidfd: its records of
/// descriptors are used again, and events of one that was closed in the same turn of the loop then end the wait of another.
bool has_ended(int pidfd);

}  // namespace base
