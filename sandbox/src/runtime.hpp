#pragma once
#include "slot.hpp"

#include <base/asio.hpp>
#include <base/result.hpp>
#include <sandbox/sandbox.hpp>

#include <functional>
#include <string>
#include <vector>

namespace sandbox {

/// What a new sandbox does: its guest runs, or it waits for an image to be restored into it.
enum class Start { run, create };

/// Told by a restore, before anything of what it loads can run, with which process the sandbox lives and dies from there on. A
/// failure undoes the restore.
using Begins = std::function<base::Status(pid_t)>;

/// A way to isolate, and all that differs between one and another. The rest (slots, cgroups, the stock, the guest and its
/// channel, deaths, images) knows sandboxes only through this.
/// Threads: the I/O thread, except where it says that it blocks: those are for the pool. Lifetime: shared by the node and the
/// sandboxes it started; constant, since what there is to know about a sandbox stands in its slot.
class Runtime {
  public:
    virtual ~Runtime() = default;

    virtual RuntimeKind kind() const = 0;
    /// Changes whenever the program does, and differs from that of every other runtime: images and running sandboxes of
    /// another build are not reused.
    virtual std::string const& build() const = 0;

    /// The build that an image made now depends on, of a sandbox that `started` started: `build`, where nothing of that one is left in it.
    virtual std::string const& image_build(std::string const& started) const = 0;

    /// Whether `pause` to `restore` and Start::create work here: image_errc::unsupported, with the reason, when not.
    virtual base::Status can_keep_memory() const = 0;
    /// Whether a sandbox ends when the host refuses it another thread, rather than a process inside getting an error.
    virtual bool ends_without_threads() const = 0;

    /// Writes into a slot that was just created what its sandbox is to be. Made from our own settings and nothing else: what a
    /// client chooses (environment, limits, volume, network) is given later, through the guest and the cgroup. Blocks.
    virtual base::Status describe(Slot const& slot, Template const& image, std::string const& guest_binary) const = 0;
    /// Starts the slot's sandbox in its cgroup and hands it the FIFOs: the pid of the process with which it lives and dies, once
    /// that is there. On failure nothing may be left running, or all of it: the caller dismantles the slot.
    virtual base::Task<base::Result<pid_t>> boot(Slot slot, Start start, std::vector<std::string> cgroups,
                                                 base::milliseconds limit) const = 0;

    /// Binds a host directory into the slot's mount, from where it shows up at /berth/volume inside. Microseconds. `process` is
    /// what `boot` gave.
    virtual base::Status attach_volume(Slot const& slot, pid_t process, std::string const& host_directory) const = 0;

    /// Every task inside stops before its next instruction. Counted: what was paused before stays so after a checkpoint.
    virtual base::Task<base::Status> pause(Slot slot, base::milliseconds limit) const = 0;
    /// Undoes one `pause`. Waits for a checkpoint that is under way.
    virtual base::Task<base::Status> resume(Slot slot, base::milliseconds limit) const = 0;
    /// Writes the image into `directory`, an empty one. The sandbox exists on, whatever comes of it: paused, if it was.
    /// Errors: image_errc::refused and open_deleted_file, base::errc::limit when the disk is full, base::errc::timed_out.
    virtual base::Task<base::Status> checkpoint(Slot slot, std::string directory, base::milliseconds limit) const = 0;
    /// Loads the image into a created, never started sandbox, which runs from there on. image_errc::damaged or refused, and what
    /// `begins` failed of.
    virtual base::Task<base::Status> restore(Slot slot, std::string directory, base::milliseconds limit, Begins begins) const = 0;

    /// Removes what the runtime keeps outside the slot about a sandbox that is gone. Blocks.
    virtual void forget(std::string const& id) const = 0;
    /// Ids of the sandboxes about which it keeps something. Blocks.
    virtual std::vector<std::string> remembered() const = 0;
};

}  // namespace sandbox
