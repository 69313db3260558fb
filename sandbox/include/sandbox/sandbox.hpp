#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <sandbox/guest.hpp>
#include <sandbox/image.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandbox {

/// What stands between sandboxed code and the host. gVisor answers its system calls in a kernel of its own. Native code makes them to
/// the host's kernel, from namespaces and below filters: faster, and a flaw in that kernel is a way out.
enum class RuntimeKind { gvisor, native };
char const* to_string(RuntimeKind);
std::optional<RuntimeKind> runtime_kind(std::string_view name);    ///< the way back from to_string

struct Limits {
    std::uint64_t memory_bytes = 2ull << 30;
    double cpus = 2;
    int pids = 1024;                       ///< host threads of the sandbox; gVisor uses a few for itself
    bool operator==(Limits const&) const = default;
};

/// A root file system that sandboxes start from, read-only, shared by all of them.
struct Template {
    std::string name;                      ///< what claims ask for: "base"
    std::string rootfs;                    ///< absolute path
    std::string stamp;                     ///< changes with the contents; a slot of another stamp is not reused
    /// The host's directories that are seen inside too, read-only and at the same place. None for an image, whatever its name;
    /// see make_host_template.
    std::vector<std::string> borrowed;
};

/// Why a sandbox is gone.
struct Death {
    enum class Reason { destroyed, oom, pids, killed, runtime_error, guest_lost, hibernated };
    Reason reason = Reason::destroyed;
    std::string detail;                    ///< one line for people: "out of memory: its limit is 512 MiB"
};
char const* to_string(Death::Reason);

struct Usage {
    std::uint64_t memory_bytes = 0;
    std::uint64_t cpu_ms = 0;
    int pids = 0;
};

/// A checkpoint that succeeded.
struct Checkpointed {
    ImageFacts facts;                      ///< for ImageStore::publish
    std::vector<std::string> dropped;      ///< what will not be there again, for people: "3 network connections"
    Phases phases;
};

/// What becomes of a sandbox once its image was kept.
enum class AfterKeep { end, go_on };
/// Called with everything inside at a stand and the image written: makes it durable and records it, so that there is no
/// moment at which the sandbox is gone and its image not known. A failure lets the sandbox go on as if nothing had been.
/// The sandbox may die meanwhile, by another's hand: what was written is whole all the same.
using Keep = std::function<base::Task<base::Result<AfterKeep>>(Checkpointed const&)>;

/// One live sandbox: a slot, its runtime process and the channel to its guest.
/// Threads: the I/O thread. Lifetime: shared by the workspace that claimed it and by calls in flight; `destroy` ends it,
/// letting go of the last reference does not (a server that stops leaves sandboxes running for the next one to adopt).
class Sandbox {
  public:
    virtual ~Sandbox() = default;

    virtual std::string const& slot_id() const = 0;
    virtual std::string const& template_name() const = 0;
    virtual RuntimeKind runtime() const = 0;
    virtual Guest& guest() = 0;            ///< needs a thawed sandbox: calls to a frozen one time out

    virtual bool alive() const = 0;
    virtual Death const& death() const = 0;    ///< of one that is not alive
    /// Called once, on the I/O thread, when it dies in whatever way.
    virtual void on_death(std::function<void(Death const&)> handler) = 0;

    virtual bool frozen() const = 0;
    virtual base::Status freeze() = 0;     ///< writes a kernel knob: microseconds
    virtual base::Status thaw() = 0;

    /// Binds a host directory at /berth/volume inside (mount propagation). Once per sandbox.
    virtual base::Status attach_volume(std::string const& host_directory) = 0;
    virtual base::Status set_limits(Limits const&) = 0;    ///< at once; memory below what it uses may kill it
    virtual base::Result<Usage> usage() const = 0;         ///< reads the cgroup: microseconds, also of a frozen one

    /// What an image made of it now would depend on.
    virtual ImageFacts image_facts() const = 0;
    /// Writes everything inside to `directory` (an empty one, of an ImageDraft), has `keep` keep it, and ends the sandbox
    /// unless that says otherwise: it dies of Reason::hibernated. Not one instruction runs inside between what was written
    /// and the end, or the going on. Its slot is being removed when this returns; `destroy` waits for that.
    /// One that goes on does so thawed, with its calls and processes, but without its network connections; so does it after a
    /// failure, and then what was written is void. The time of `keep` is in no phase.
    /// Errors: image_errc::unsupported: its runtime keeps no memory, here or at all; image_errc::open_deleted_file names file and
    /// process; both are found before anything is touched; image_errc::refused has the runtime's words; base::errc::limit: no space; base::errc::timed_out after `limit`;
    /// base::errc::busy: one is under way; base::errc::unavailable: it died meanwhile; and what `keep` failed of.
    /// Cancelling the caller does not stop it.
    virtual base::Task<base::Result<Checkpointed>> checkpoint(std::string directory, base::milliseconds limit, Keep keep) = 0;
    /// The same with nothing to keep: for a caller who publishes afterwards.
    base::Task<base::Result<Checkpointed>> checkpoint(std::string directory, base::milliseconds limit) {
        return checkpoint(std::move(directory), limit, Keep());
    }

    /// Kills it and removes processes, mounts, cgroup and directory; idempotent; also finishes for a half-made one.
    virtual base::Task<base::Status> destroy() = 0;
};

}  // namespace sandbox
