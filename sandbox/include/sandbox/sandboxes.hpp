#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>
#include <sandbox/image_store.hpp>
#include <sandbox/sandbox.hpp>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace sandbox {

struct PoolTarget {
    int ready = 8;                         ///< booted and frozen
    int awake = 2;                         ///< of those, thawed and touched while claims come, so that the next one meets warm caches
    int blank = 1;                         ///< made but not booted: a restore from an image takes one of these
};

struct Options {
    std::string directory;                 ///< DIR/slots and DIR/runsc are made below it; 0700
    std::string guest_binary;              ///< the static berth-guest
    std::map<std::string, Template> templates;
    std::map<std::string, PoolTarget> pool;
    /// Sandboxes of the other kind, for an operator who knows what they do not protect from. Without `allowed` there are none.
    struct Native {
        bool allowed = false;
        std::string program;               ///< the installed berth-contain
        std::map<std::string, PoolTarget> pool;    ///< by template; `blank` counts where memory can be kept
    } native;
    Limits default_limits;
    int max_sandboxes = 1024;
    int max_boots = 2;                     ///< at once; two fill two cores
    base::milliseconds boot_limit{20'000};
    base::milliseconds awake_for{10'000};  ///< after the last claim; then the whole stock is frozen
    base::milliseconds restore_limit{60'000};
    /// Guest builds that images still need (ImageFacts::guest_build): their programs are kept by `sweep`.
    std::set<std::string> kept_guests;
    /// Told in one line, on the I/O thread, of what no caller may hear: a boot that failed, a spare sandbox that died, one of which
    /// something is left. For the operator's log; must not call back.
    std::function<void(std::string const&)> on_trouble;
};

struct Taken {
    std::shared_ptr<Sandbox> sandbox;      ///< thawed
    bool warm = false;                     ///< from the pool
};

struct RestoreRequest {
    OpenImage image;
    std::string template_name;
    RuntimeKind runtime = RuntimeKind::gvisor;
    std::string volume_directory;          ///< attached before the restore; "" for none
    Limits limits;                         ///< memory at least what the image holds, or it dies of it
    Renewal renewal;
    /// Called with the slot's id before anything is loaded into it, for the caller's record. A failure ends the restore.
    std::function<base::Task<base::Status>(std::string)> chosen;
};

struct Restored {
    std::shared_ptr<Sandbox> sandbox;      ///< thawed, renewed, and like any other from now on
    bool warm = false;                     ///< into a slot of the stock
    Phases phases;
};

struct SweepReport {
    int adopted_to_pool = 0, destroyed = 0, leftovers_removed = 0;
};

/// Everything that runs on this node: the runtime, its slots, the pool. Threads: the I/O thread.
class Sandboxes {
  public:
    virtual ~Sandboxes() = default;
    /// Prepares directories, the shared mount and the cgroup. errc::unavailable names what is missing (runsc, guest, cgroup). Where
    /// native sandboxes are allowed one of the two runtimes is enough; there never is one instead of the other.
    static base::Result<std::unique_ptr<Sandboxes>> open(asio::io_context&, base::BlockingPool&, Options);

    /// Warm from stock, else a cold boot: bounded, first come first served. errc::busy at max_sandboxes, errc::not_found
    /// for an unknown template, errc::denied for native ones that are not allowed, errc::unavailable for a runtime that is not here.
    virtual base::Task<base::Result<Taken>> take(std::string template_name, RuntimeKind runtime) = 0;
    base::Task<base::Result<Taken>> take(std::string template_name) { return take(std::move(template_name), RuntimeKind::gvisor); }
    /// Wakes an image in a slot of its own. Errors: image_errc::damaged, other_runtime, other_template, other_cpu, refused;
    /// base::errc::busy at max_sandboxes; base::errc::timed_out. After a failure nothing is left of the slot.
    virtual base::Task<base::Result<Restored>> restore(RestoreRequest request) = 0;
    /// What an image has to fit to be restored here, for ImageStore::open. errc::not_found for an unknown template.
    virtual base::Result<ImageFacts> image_facts(std::string const& template_name, RuntimeKind runtime) const = 0;
    base::Result<ImageFacts> image_facts(std::string const& template_name) const {
        return image_facts(template_name, RuntimeKind::gvisor);
    }
    /// A sandbox that an earlier server left running, its channel re-attached. errc::not_found when it is dead or gone.
    virtual base::Task<base::Result<std::shared_ptr<Sandbox>>> adopt(std::string slot_id) = 0;
    /// Adds to Options::kept_guests.
    virtual void keep_guests(std::set<std::string> builds) = 0;
    /// At start, after the workspaces have adopted theirs: whatever else is found goes to the pool when it answers and
    /// fits, or is destroyed. Leaves no process, mount, cgroup or directory unaccounted for.
    virtual base::Task<SweepReport> sweep() = 0;

    /// Keeps the pool filled until `stop`.
    virtual void start_filling() = 0;
    /// Stops filling. `destroy_all` also ends every sandbox, claimed or not (`berth down`, an in-process engine).
    virtual base::Task<void> stop(bool destroy_all) = 0;
    /// Stops filling and ends the stock; what was claimed goes on for the next server.
    virtual base::Task<void> stop_without_stock() = 0;

    struct Stock {
        int ready = 0, target = 0, booting = 0, blank = 0;
        int awake = 0;                     ///< of those ready, not frozen just now
    };
    /// By template; those of native sandboxes as "NAME/native", where they are allowed.
    virtual std::map<std::string, Stock> stock() const = 0;
    virtual int running() const = 0;                   ///< sandboxes that exist, stock and frozen ones too
    virtual std::uint64_t boots() const = 0;           ///< since the start; that succeeded
    virtual std::uint64_t failed_boots() const = 0;    ///< of sandboxes and of blanks for restores, asked for or not
    virtual std::string last_boot_error() const = 0;   ///< what on_trouble was told last; "" when all went well
    virtual base::Task<void> wait_for_stock(int ready, base::milliseconds limit) = 0;   ///< for start-up and benches
};

/// Facts about this machine for `berth doctor`: probed by doing, with a hint where something is missing.
struct Finding {
    std::string name;
    bool ok = false;
    std::string detail, hint;
};
base::Task<std::vector<Finding>> examine(Options const&);

/// A template without an image: this machine's own programs (/usr, read-only) under a root file system made below
/// `directory`. Nothing of the machine's /etc but public certificates. For one user's trusted machine, and for tests.
base::Result<Template> make_host_template(std::string const& directory);

}  // namespace sandbox
