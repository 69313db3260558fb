#pragma once
#include <cstddef>
#include <cstdint>

// Between the guest and a shell that waits for its command (ready_object.cpp), over a socket that both ends
// trust: the shell is a child that has run nothing but its loader yet.
namespace guest::ready {

// What the waiting shell inherits beside /dev/null on 0 to 2.
inline constexpr int kSocket = 3, kObject = 4;

inline constexpr std::size_t kMaxMessage = 64 * 1024, kMaxVariables = 2048;

/// Header, then the working directory, the command, and each NAME=value of the environment, all ended by a
/// NUL. With its first byte come two descriptors: standard input, and what is standard output and error.
struct Header {
    std::uint32_t bytes;  ///< of the whole message
    std::uint32_t variables;
    std::uint32_t max_processes;  ///< 0 = no limit
    std::uint32_t terminal;       ///< 1: standard input becomes the controlling terminal
};

inline constexpr char kReady = 'R', kTaken = 'T';  // from the shell, each once

// Room in the list of arguments, which is what others see of a process, for the start of the command.
inline constexpr std::size_t kShownCommand = 1024;
inline constexpr std::size_t kShownEnvironment = 4096;

}  // namespace guest::ready
