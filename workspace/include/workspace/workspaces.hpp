#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>
#include <config/settings.hpp>
#include <registry/registry.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/sandboxes.hpp>
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

struct IdlePolicy {
    base::milliseconds freeze_after{2'000};    ///< once nothing runs; invisible to the user
    base::milliseconds stop_after{1'800'000};  ///< once nothing runs; 0 = never
    bool keep = false;                         ///< stays up however idle
};

struct CreateRequest {
    std::string name;           ///< "" = none; the same name of the same owner is the same workspace
    std::string template_name;  ///< "" = the default
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

struct View {
    std::string id, name, template_name;
    std::string state;  ///< running | frozen | stopped | starting | deleting
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
    bool warm = false;
    double ready_ms = 0;
    std::string note;  ///< of a git clone
};

struct RecoveryReport {
    int adopted = 0, stopped = 0, forgotten_volumes = 0;
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
    std::uint64_t generation() const;
    bool restarted() const { return restarted_; }  ///< this call had to start it again from its files

  private:
    friend class Workspaces;
    std::shared_ptr<Workspace> workspace_;
    std::shared_ptr<sandbox::Sandbox> sandbox_;
    bool restarted_ = false;
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

    /// At start, before anything else: takes back running sandboxes, finishes what was half done, sweeps the
    /// rest.
    Task<RecoveryReport> recover();
    void start_idle_policy();

    /// A new one is removed again when the caller is cancelled meanwhile.
    Task<Result<Created>> create(std::string owner, CreateRequest request);
    Result<View> get(std::string const& owner, std::string const& id) const;
    /// Newest first.
    std::vector<View> list(std::string const& owner) const;
    Task<Status> remove(std::string owner, std::string id);

    /// Wakes or starts it when needed; one start however many callers.
    Task<Result<Lease>> awake(std::string owner, std::string id);
    /// Maps a tool's path. Does not wake anything: volumes are used from the host.
    Task<Result<Place>> place(std::string owner, std::string id, std::string path);
    Result<sandbox::Usage> usage(std::string const& owner, std::string const& id) const;
    Result<VolumeUsage> disk(std::string const& owner, std::string const& id) const;

    /// Which workspace a process belongs to. errc::not_found.
    Task<Result<registry::ProcessRecord>> process(std::string owner, std::string process_id);
    /// A workspace's commands, newest first, at most `limit`.
    Task<Result<std::vector<registry::ProcessRecord>>> processes(std::string owner, std::string id,
                                                                 std::size_t limit);
    void remember(registry::ProcessRecord record);
    /// Said by the one who wrote there; what commands do inside is not heard of.
    void file_changed(Place const& place);
    /// One handler, for every owner's changes. Called once a change is done.
    void on_change(std::function<void(Change const&)> handler);

    std::size_t count() const;
    asio::any_io_executor executor() const;
    /// Ends the policy loops; sandboxes stay for the next server, unless `stop_all`.
    Task<void> shut_down(bool stop_all);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace workspace
