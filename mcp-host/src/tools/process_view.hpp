#pragma once
#include "tools.hpp"

#include <vector>

// What is known of a command, for the process tools and the resources.
namespace host {

struct OutputPart {
    std::uint64_t offset = 0;
    std::size_t max = 48'000;
    bool newest = false;        ///< the last `max` bytes so far, whatever `offset`
    base::milliseconds wait{};  ///< for something at `offset`, or the exit
};

struct ProcessLook {
    sandbox::ProcessView view;
    std::vector<int> ports;  ///< that it, or what it started, listens on; only while it runs
    workspace::Arrival arrival;  ///< of its workspace, when this woke it
};

/// From the guest while the sandbox of that command lives or sleeps, else from the record. Wakes a sandbox, starts
/// none. `waiting` hears of progress while this waits; null = nobody.
Task<base::Result<ProcessLook>> look_at_process(Tools&, std::string owner, registry::ProcessRecord record,
                                                OutputPart part, Call* waiting = nullptr);

/// Ports that a command's tree listens on, each once. None when the guest cannot tell: it is an extra, no
/// reason to fail.
Task<std::vector<int>> ports_of(sandbox::Guest guest, std::string process);

/// How it ended, or that it goes on: the last line of what a model reads.
std::string ending_line(sandbox::ProcessView const&);

/// Awaits `op`, a call that waits for command `process`. Meanwhile, if there is a call with a token, tells
/// its client once a second how long that takes and the command's newest line. Cancelling this cancels `op`.
Task<base::Result<sandbox::ProcessView>> with_progress(Call* call, sandbox::Guest guest, std::string process,
                                                       Task<base::Result<sandbox::ProcessView>> op);

}  // namespace host
