#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>
#include <config/settings.hpp>
#include <registry/registry.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/image_store.hpp>
#include <sandbox/sandboxes.hpp>
#include <workspace/lifecycle.hpp>
#include <workspace/snapshots.hpp>
#include <workspace/volume.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace workspace {

using base::Result;
using base::Status;
using base::Task;

/// What a sandbox gets for a workspace's limits. A workspace's number of processes counts what runs inside, where a fork
/// beyond it fails. For each of those gVisor keeps up to two threads on the host and a few dozen for itself, and dies when
/// it gets none: the host's limit stands a little above.
sandbox::Limits host_limits(sandbox::Limits limits);

/// Times without use. What counts as use: calls, open connections, commands that were asked to be kept, and work that takes
/// a tenth of a processor or more.
struct IdlePolicy {
    base::milliseconds freeze_after{2'000};       ///< once nothing runs; invisible to the user
    base::milliseconds hibernate_after{600'000};  ///< memory to disk, the sandbox ends; 0 = never
    base::milliseconds stop_after{0};             ///< only the files are left; 0 = never
    bool keep_alive = false;                      ///< neither of the two, however idle
};

struct CreateRequest {
    std::string name;           ///< "" = none; the same name of the same owner is the same workspace
    std::string template_name;  ///< "" = the default
    std::optional<sandbox::RuntimeKind> runtime;  ///< the template's own when absent; native needs native.allow
    std::map<std::string, std::string> env;
    std::map<std::string, std::string> files;  ///< path below /workspace to content
    std::string git_url;                       ///< cloned into /workspace; needs its host in `allow`
    std::optional<std::uint64_t> memory_bytes, disk_bytes;
    std::optional<double> cpus;
    std::optional<int> pids;
    std::vector<std::string> allow;  ///< egress patterns
    std::optional<IdlePolicy> idle;
    std::string idempotency_key;
    std::string request_hash;  ///< of the arguments, to tell a repeat from a different request
};

/// What is to change; the rest stays.
struct UpdateRequest {
    std::optional<base::milliseconds> freeze_after, hibernate_after, stop_after;
    std::optional<bool> keep_alive;
    std::optional<std::uint64_t> memory_bytes;
    std::optional<double> cpus;
    std::optional<int> pids;
    std::optional<std::vector<std::string>> allow;
};

struct View {
    std::string id, name, template_name;
    sandbox::RuntimeKind runtime = sandbox::RuntimeKind::gvisor;
    std::string state;  ///< to_string(State)
    std::string fidelity;         ///< how it last came back: "" (it never went) | memory | files
    std::string fidelity_reason;  ///< why only its files came back
    std::uint64_t image_bytes = 0;  ///< of the memory image it sleeps in
    std::uint64_t generation = 0;
    sandbox::Limits limits;
    std::uint64_t disk_bytes = 0;
    std::vector<std::string> allow;
    IdlePolicy idle;
    std::string last_error;  ///< why its last sandbox ended, when that was not by wish
    std::int64_t created_ms = 0, active_ms = 0;
};

struct Created {
    View view;
    bool existed = false;  ///< by name or idempotency key
    bool repeat = false;   ///< by the key: a request like this one made it, so all that it asks for is there
    bool warm = false;
    double ready_ms = 0;
    std::string note;  ///< of a git clone
};

/// How a workspace came to be awake.
struct Arrival {
    enum class Way { was_awake, thawed, woken, started } way = Way::was_awake;
    std::string fidelity;  ///< memory | files; "" when it had not been away
    std::string reason;    ///< of files: why not memory
    std::uint64_t bytes = 0;           ///< of the image it woke from
    std::vector<std::string> dropped;  ///< what is not there again, for people; what its sleep took only if this server saw it
    sandbox::Phases phases;
    double took_ms = 0;
    /// It was asleep, or gone: worth telling the caller.
    bool was_away() const { return way == Way::woken || way == Way::started; }
};

struct HibernateRequest {
    bool files_only = false;  ///< give the memory up
};

struct Slept {
    View view;
    bool was_asleep = false;            ///< before the call: nothing was done
    std::string fidelity;               ///< memory | files: what it will come back with
    std::vector<std::string> dropped;   ///< what will not be there again, for people
    std::uint64_t bytes = 0;            ///< of the image
    sandbox::Phases phases;
    double took_ms = 0;
};

struct Woken {
    View view;
    Arrival arrival;
};

struct RestoredTo {
    View view;
    std::string snapshot;                ///< its id
    bool memory = false;                 ///< else it was started from the snapshot's files
    std::string why;                     ///< not with memory
    std::optional<SnapshotView> kept;    ///< what it was before; without, that is gone
    std::uint64_t files_bytes = 0;       ///< copied, on the disk; what the copy shares with the snapshot counts
    std::uint64_t memory_bytes = 0;      ///< of the image that was loaded
    std::vector<std::string> dropped;    ///< what is not there again, for people
    double ms = 0;
};

struct Forked {
    std::vector<View> workspaces;
    /// Of each: its commands' ids in the origin, and their own. Empty where the guest is too old to name them anew.
    std::vector<std::map<std::string, std::string>> processes;
    bool memory = false;                 ///< else they are stopped and start from their files
    std::string why;                     ///< not with memory
    std::uint64_t files_bytes = 0;       ///< of each copy, on the disk; what it shares with others counts
    std::uint64_t memory_bytes = 0;      ///< of the image that each was loaded from
    std::vector<std::string> dropped;    ///< what the origin lost by it, for people
    double ms = 0, still_ms = 0;         ///< in all; of that, how long nothing ran in the origin
};

struct LifeCounts {
    std::uint64_t hibernated = 0, refused = 0;              ///< sleeps: done, not possible
    std::uint64_t woken = 0, from_files = 0, stopped = 0;   ///< wakes with memory; starts after memory was lost; given up
    std::map<std::string, int> states;                      ///< workspaces by state
    std::map<sandbox::RuntimeKind, int> runtimes;           ///< and by what they run in
};

struct RecoveryReport {
    int adopted = 0, stopped = 0, asleep = 0, forgotten_volumes = 0, forgotten_images = 0;
    sandbox::SweepReport sandboxes;
};

class Workspace;

/// What a guest's view of a command comes to as a record, output aside.
registry::ProcessRecord record_of(std::string workspace, std::uint64_t generation, std::string command,
                                  sandbox::ProcessView const&);

/// A workspace that is awake, and stays so while this exists.
class Lease {
  public:
    explicit Lease(std::shared_ptr<Workspace>);
    Lease(Lease&&) noexcept;
    Lease& operator=(Lease&&) noexcept;
    ~Lease();
    /// Good for the lease's life, also when the sandbox dies meanwhile: calls then fail with
    /// errc::unavailable.
    sandbox::Sandbox& sandbox() const { return *sandbox_; }
    sandbox::Guest& guest() const { return sandbox_->guest(); }
    std::string const& id() const;
    std::uint64_t generation() const;  ///< grows with each sandbox of the workspace
    Arrival const& arrival() const { return arrival_; }

  private:
    friend class Workspaces;
    std::shared_ptr<Workspace> workspace_;
    std::shared_ptr<sandbox::Sandbox> sandbox_;
    Arrival arrival_;
};

/// Where a file tool works: a directory on the volume and a path beneath it, or a path that only the guest
/// sees.
struct Place {
    std::shared_ptr<Volume> volume;  ///< null: through the guest
    base::Beneath const* root = nullptr;
    std::string path;
    std::string workspace;  ///< its id, also when it was named
    bool home = false;      ///< `root` is /home/agent, not /workspace
};

/// What is about to happen, from outside, to a name that a program inside may have open.
enum class Touch { write, take_away };

/// What changed of a workspace, for those who watch.
struct Change {
    std::string workspace;
    bool list = false;  ///< it came or went
    std::string path;   ///< of a file or directory: "src/a.py" below /workspace, "~/x"; "" = its state
};

/// The workspaces of this node: their life from creation to deletion, and how they come back after a crash.
/// Owners see only their own: for anything else the answer is the same as for what never existed.
/// Threads: the I/O thread.
class Workspaces {
  public:
    Workspaces(asio::io_context&, base::BlockingPool&, config::Settings const&, registry::Registry&,
               sandbox::Sandboxes&, VolumeStore&, sandbox::EgressProxy&);
    ~Workspaces();

    /// Where memory goes; before `recover`. Without it nothing hibernates.
    void use_images(sandbox::ImageStore&);
    /// At start, before anything else: takes back running sandboxes, finishes what was half done, sweeps the
    /// rest.
    Task<RecoveryReport> recover();
    void start_idle_policy();  ///< after `recover`; until `shut_down`

    /// A new one is removed again when the caller is cancelled meanwhile.
    Task<Result<Created>> create(std::string owner, CreateRequest request);
    Result<View> get(std::string const& owner, std::string const& id) const;  ///< by id or name; errc::not_found
    /// Newest first.
    std::vector<View> list(std::string const& owner) const;
    /// With its files, snapshots and processes; recorded first, and finished by the next server if this one cannot. errc::not_found.
    Task<Status> remove(std::string owner, std::string id);

    /// Changes settings of one that runs, sleeps or is stopped, for good; wakes nothing, and is no use of it. Connections to hosts that
    /// are not allowed any more end; programs keep the environment and the number of processes that they began with. All of it
    /// or nothing. errc::invalid, errc::denied: beyond what the operator permits, or not while it is what it is. errc::limit: less
    /// memory than it has in use.
    Task<Result<View>> update(std::string owner, std::string id, UpdateRequest request);

    /// Wakes or starts it when needed; one wake however many callers, each of whom learns how it came back. An image that
    /// cannot be loaded leads to a start from the files; one that could, but not now (no room, no time), to an error.
    Task<Result<Lease>> awake(std::string owner, std::string id);
    /// Memory to disk, whatever runs; calls under way end with errc::unavailable. One that is stopped stays so. After a
    /// failure it goes on running: image_errc::open_deleted_file names file and process, and files_only is then the way.
    Task<Result<Slept>> hibernate(std::string owner, std::string id, HibernateRequest request);
    Task<Result<Woken>> wake(std::string owner, std::string id);  ///< `awake` without a lease; errors as there

    /// A workspace's state at one instant under a name ("" = none): files, and memory when it has any that can be saved. It goes
    /// on as it was, awake or asleep; what is awake loses its connections to the outside. errc::limit: too many, too large, no
    /// space; the message says what to delete. errc::exists: the name is taken.
    Task<Result<Snapped>> snapshot(std::string owner, std::string id, std::string name);
    /// Newest first.
    Result<std::vector<SnapshotView>> snapshots(std::string const& owner, std::string const& id) const;
    Task<Result<SnapshotView>> delete_snapshot(std::string owner, std::string id, std::string snapshot);  ///< by id or name
    /// Back to a snapshot, by id or name, awake. `keep_as` first makes a snapshot of what it is now, which is gone otherwise.
    /// After a failure it is what it was.
    Task<Result<RestoredTo>> restore(std::string owner, std::string id, std::string snapshot,
                                     std::optional<std::string> keep_as);
    /// `count` workspaces (up to kMaxForks) like this one, each with an identity of its own; the first have `names`. All of
    /// them or none.
    Task<Result<Forked>> fork(std::string owner, std::string id, int count, std::vector<std::string> names);

    /// Maps a tool's path. Does not wake anything: volumes are used from the host.
    Task<Result<Place>> place(std::string owner, std::string id, std::string path);
    /// Wakes what sleeps with its memory when that memory could not be loaded any more once the name was touched: gVisor looks
    /// for open files by their names, and CRIU also at their sizes. It stays awake for the lease; without one it may sleep on.
    Task<Result<std::optional<Lease>>> awake_for(std::string owner, Place place, Touch touch);
    // Both without waking it: zeroes of one that has no sandbox, or whose files are not mounted.
    Result<sandbox::Usage> usage(std::string const& owner, std::string const& id) const;
    Result<VolumeUsage> disk(std::string const& owner, std::string const& id) const;

    /// Which workspace a process belongs to. errc::not_found.
    Task<Result<registry::ProcessRecord>> process(std::string owner, std::string process_id);
    /// A workspace's commands, newest first, at most `limit`.
    Task<Result<std::vector<registry::ProcessRecord>>> processes(std::string owner, std::string id,
                                                                 std::size_t limit);
    void remember(registry::ProcessRecord record);  ///< lazily: what a crash loses is learnt anew from the guest
    /// Said by the one who wrote there; what commands do inside is not heard of.
    void file_changed(Place const& place);
    /// One handler, for every owner's changes. Called once a change is done.
    void on_change(std::function<void(Change const&)> handler);

    std::size_t count() const;         ///< of all owners
    LifeCounts life_counts() const;    ///< since the start; states as they are
    asio::any_io_executor executor() const;
    /// Ends the policy loops; sandboxes stay for the next server, unless `stop_all`.
    Task<void> shut_down(bool stop_all);
    /// Likewise, for a server that ends with its clients. What `recover` found running goes on running; what was brought up
    /// since goes to sleep with its memory, and what cannot within `limit` keeps its files alone.
    Task<void> shut_down_after_clients(base::milliseconds limit);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace workspace
