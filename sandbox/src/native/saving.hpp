#pragma once
#include "../runtime.hpp"
#include "../slot.hpp"
#include "criu_program.hpp"
#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>
#include <vector>

namespace sandbox::native {

// What a `Runtime` owes to hibernation, by berth-contain and CRIU (sandbox/native/memory.hpp). A save does
// not end with the server: it goes on in a process of its own, and `resume` waits for it.

struct Saver {
    std::string contain;  ///< berth-contain
    CriuProgram criu;
};

/// Of a slot that boots: they are what is paused, and what a loaded sandbox lives in.
base::Status note_cgroups(Slot const& slot, std::vector<std::string> const& cgroups);

base::Task<base::Status> pause(Slot slot, base::milliseconds limit);
base::Task<base::Status> resume(Slot slot, base::milliseconds limit);
base::Task<base::Status> checkpoint(Saver saver, Slot slot, std::string directory, base::milliseconds limit);
base::Task<base::Status> restore(Saver saver, Slot slot, std::string directory, base::milliseconds limit,
                                 Begins begins);

}  // namespace sandbox::native
