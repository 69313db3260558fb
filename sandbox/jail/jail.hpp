#pragma once
#include <base/result.hpp>

#include <sys/types.h>

#include <cstdint>

namespace sandbox::jail {

struct Spec {
    uid_t uid = 0;           ///< that nobody else has; its group has the same number
    std::uint16_t port = 0;  ///< of the one socket that can be reached, on the jail's 127.0.0.1
    char* const* argv = nullptr;
};

/// Sends the listening socket over `wire`, a Unix socket, and runs the program with `wire` as its descriptors
/// 3 and 4 until it ends or the other end of `wire` closes. The program's exit code, 128 + signal; an error
/// when it could not be started.
base::Result<int> run(Spec const& spec, int wire);

}  // namespace sandbox::jail
