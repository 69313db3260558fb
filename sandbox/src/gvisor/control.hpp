#pragma once
#include "../slot.hpp"
#include "runsc.hpp"

#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>

namespace sandbox::gvisor {

// What `runsc pause`, `checkpoint` and `restore` ask of a running sentry, asked without them: starting that program costs 25 to
// 30 ms each time, and a caller who asks by himself sees every refusal in full. The calls are those of runsc's own control
// socket, which only root reaches; `Runsc::build` guards images against another build, and a build that does not know a
// call answers with an error, which is reported as any other refusal.

/// Every task inside stops before its next instruction. Counted: what was paused before stays so after a checkpoint.
base::Task<base::Status> pause(Runsc runsc, Slot slot, base::milliseconds limit);
/// Undoes one `pause`. Waits for a checkpoint that is under way.
base::Task<base::Status> resume(Runsc runsc, Slot slot, base::milliseconds limit);
/// Writes the image into `directory`, an empty one. The sandbox exists on, whatever comes of it: paused, if it was.
/// Errors: image_errc::refused and open_deleted_file, base::errc::limit when the disk is full, base::errc::timed_out.
base::Task<base::Status> checkpoint(Runsc runsc, Slot slot, std::string directory, base::milliseconds limit);
/// Loads the image into a created, never started sandbox, which runs from there on. image_errc::damaged or refused.
base::Task<base::Status> restore(Runsc runsc, Slot slot, std::string directory, base::milliseconds limit);

/// The first line of the runtime's words, shortened: the rest is a stack trace. Exposed for its test.
std::string first_words(std::string const& message);

}  // namespace sandbox::gvisor
