#pragma once
#include <sys/types.h>

#include <cstdint>

namespace base {

/// When a process started, in the kernel's own count: with its number, what tells it from a later process of that number.
/// 0 when there is no such process, or it has ended and only its number is left.
std::uint64_t process_start(pid_t pid);

}  // namespace base
