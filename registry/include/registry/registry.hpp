#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/json.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace registry {

using base::Result;
using base::Status;
using base::Task;

/// A workspace's durable record. `state` and the meaning of `settings` are the workspace folder's business.
struct WorkspaceRecord {
    std::string id;                       ///< primary key
    std::string name;                     ///< unique per owner among the living
    std::string owner;
    std::string template_name;
    std::string state;
    std::string slot;                     ///< "" = none
    std::string volume;
    std::uint64_t generation = 0;         ///< of the sandbox: grows with each start
    base::Json settings = base::Json::object();   ///< env, limits, network, idle
    std::string last_error;
    std::string idempotency_key;          ///< "" = none; unique per owner
    std::string request_hash;             ///< of the creating arguments: the same key with others is refused
    std::int64_t created_ms = 0, active_ms = 0;
    std::uint64_t sleeps = 0;             ///< memory images made of it so far: numbers the next one
    std::string fidelity;                 ///< how it last came back: "" (it never went), memory or files
    std::string fidelity_reason;          ///< why only its files came back
};

/// A memory image that may be loaded. What is not named here does not count, whatever lies on the disk.
struct ImageRecord {
    std::string workspace, image;         ///< primary key
    std::string kind = "sleep";           ///< sleep: what a hibernated workspace wakes from; snapshot: kept until it is deleted
    std::uint64_t generation = 0;         ///< what the sealed image says of itself must be this
    bool forked = false;                  ///< it is a copy of another workspace's: its first wake renews the identity
    std::uint64_t bytes = 0;
    std::string template_stamp, runtime_build, guest_build;
    std::int64_t created_ms = 0;
};

/// What a workspace's images gain and lose in one step.
struct ImageChange {
    std::optional<ImageRecord> add;
    std::vector<std::string> remove;      ///< by image; one that is not there is fine
};

/// A command's durable record; output lives in the guest, or after its sandbox ended in the tail kept here.
struct ProcessRecord {
    std::string id;                       ///< primary key
    std::string workspace;
    std::uint64_t generation = 0;         ///< the sandbox it ran in
    std::string command;                  ///< its first 500 bytes
    bool running = true;
    int exit_code = -1, signal = 0;
    std::string reason;
    std::int64_t started_ms = 0, ended_ms = 0;
    std::uint64_t total_bytes = 0, tail_offset = 0;
    bool keep_alive = false;              ///< while it runs its workspace neither hibernates nor stops
    bool background = false;              ///< nobody waited for its end, as for a server's
    std::string tail;                     ///< at most 64 KiB, only once the sandbox is gone or asleep
};

/// A tool definition of a community MCP server, as it was accepted.
struct ToolPin {
    std::string server, tool;             ///< together the primary key
    std::string hash;                     ///< over the definition in canonical form
    base::Json definition;
    std::int64_t approved_ms = 0;
    std::string approved_by;              ///< "first use", or who said so
};

/// What a community server offered when it last ran, so that its tools can be shown while it sleeps.
struct ServerOffer {
    std::string fingerprint;              ///< of the configuration that it ran with
    base::Json offer;
    std::int64_t seen_ms = 0;
};

/// A workspace's files, and its memory where there is an image, as they were at one instant.
struct SnapshotRecord {
    std::string id;                       ///< primary key
    std::string workspace;
    std::string name;                     ///< "" = none; unique in its workspace
    std::string volume;
    std::string image;                    ///< "" = files only
    std::uint64_t generation = 0;         ///< of the image
    std::uint64_t files_bytes = 0, memory_bytes = 0;
    std::string note;                     ///< for people: why there is no memory, or what was not kept
    std::int64_t created_ms = 0;
};

/// A port of a workspace that visitors may reach. One for each port: revoking makes its version grow. Credentials are over the
/// id, too, so that those of a removed record open none that comes after it.
struct PreviewRecord {
    std::string id;                       ///< primary key
    std::string workspace;                ///< unique together with port
    std::string owner;
    int port = 0;
    std::string access;                   ///< private | public
    base::Json rules = base::Json::object();   ///< path prefix to another port
    std::string domain;                   ///< a name of its own: "shop.example.com", "" = none; unique
    std::uint64_t version = 1;            ///< of its credentials: those of another one are void
    std::int64_t created_ms = 0;
    std::int64_t expires_ms = 0;          ///< public: the end of that; private: when the last link given ends
    std::int64_t revoked_ms = 0;          ///< 0: not since the last link
};

/// SQLite, WAL, synchronous=FULL, one connection on one thread of its own: commits that wait at the same moment share one flush.
/// Every call that changes something returns after it is durable, unless its name says `_lazy`.
/// Threads: called from the I/O thread; resumes there.
class Registry {
  public:
    virtual ~Registry() = default;
    /// Creates or migrates DIR/registry.sqlite (0600). Takes DIR/lock for the process's life: errc::busy when another server owns it.
    /// errc::corrupt for a damaged file or one of a newer version: one line that says which, nothing repaired silently.
    static Result<std::unique_ptr<Registry>> open(asio::io_context&, std::string const& directory);

    virtual Task<Status> insert_workspace(WorkspaceRecord) = 0;     ///< errc::exists: id, (owner, name) or (owner, idempotency_key) is taken
    virtual Task<Status> insert_workspaces(std::vector<WorkspaceRecord>) = 0;   ///< all or none
    virtual Task<Status> update_workspace(WorkspaceRecord) = 0;     ///< all columns but id, owner, created_ms; errc::not_found
    /// The record and its images together: all of it or nothing.
    virtual Task<Status> update_workspace_images(WorkspaceRecord, ImageChange) = 0;
    virtual Task<Status> change_images(std::string workspace, ImageChange) = 0;    ///< the images alone; all of it or nothing
    virtual Task<Result<std::vector<ImageRecord>>> images() = 0;    ///< of all workspaces, oldest first
    virtual void touch_workspace_lazy(std::string id, std::int64_t active_ms) = 0; ///< when it was last used; a crash may lose it
    virtual Task<Status> delete_workspace(std::string id) = 0;      ///< with its processes, images, snapshots and previews
    virtual Task<Result<std::vector<WorkspaceRecord>>> workspaces() = 0;           ///< oldest first

    /// With its image, or neither. errc::exists: id or (workspace, name) is taken.
    virtual Task<Status> insert_snapshot(SnapshotRecord, std::optional<ImageRecord>) = 0;
    virtual Task<Status> delete_snapshot(std::string id) = 0;       ///< with its image; a missing one is fine
    virtual Task<Result<std::vector<SnapshotRecord>>> snapshots() = 0;          ///< oldest first

    virtual void put_process_lazy(ProcessRecord) = 0;               ///< within 100 ms, in order; what a crash may lose is re-learnt from the guest
    virtual Task<Status> put_processes(std::vector<ProcessRecord>) = 0;
    virtual Task<Result<std::optional<ProcessRecord>>> process(std::string id) = 0;    ///< nullopt: no such id
    virtual Task<Result<std::vector<ProcessRecord>>> processes_of(std::string workspace, std::size_t limit) = 0;   ///< newest first

    virtual Task<Result<std::vector<ToolPin>>> tool_pins(std::string server) = 0;   ///< by tool
    virtual Task<Status> put_tool_pins(std::vector<ToolPin>) = 0;   ///< all or none; replaces those of the same tool
    virtual Task<Result<std::optional<ServerOffer>>> server_offer(std::string server) = 0;
    virtual Task<Status> put_server_offer(std::string server, ServerOffer) = 0;        ///< in place of the one before
    virtual Task<Status> forget_server(std::string server) = 0;     ///< pins and offer

    virtual Task<Status> put_preview(PreviewRecord) = 0;            ///< new or changed; goes with its workspace
    virtual Task<Status> delete_preview(std::string id) = 0;        ///< a missing one is fine
    virtual Task<Result<std::vector<PreviewRecord>>> previews() = 0;                   ///< oldest first

    /// To the trail of a workspace or server, which outlives it. The newest 5,000 of each are kept, 200,000 of all; a crash may lose
    /// the last ones.
    virtual void audit_lazy(std::string workspace, std::string what, base::Json detail) = 0;
    /// Newest first, an array of {at_ms, workspace, what, detail}. errc::corrupt: an entry that is no JSON.
    virtual Task<Result<base::Json>> recent_audit(std::string workspace, std::size_t limit) = 0;

    /// A random value made at first use and kept: keys for seals and cursors.
    virtual Task<Result<std::string>> secret(std::string name, std::size_t bytes) = 0;
    virtual Task<void> close() = 0;                                 ///< writes what is lazy, checkpoints
};

}  // namespace registry
