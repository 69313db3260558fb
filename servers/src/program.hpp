#pragma once
#include "log_buffer.hpp"
#include "refusals.hpp"
#include <base/blocking.hpp>
#include <config/servers.hpp>
#include <mcp/client.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/image_store.hpp>
#include <sandbox/sandboxes.hpp>
#include <workspace/volume.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace servers {

using base::Result;
using base::Status;
using base::Task;

/// A started server with its stdin and stdout. `end` leaves nothing of it.
class Program {
  public:
    virtual ~Program() = default;
    /// Once.
    virtual std::unique_ptr<base::ByteStream> take_stream() = 0;
    /// For people: where it runs.
    virtual std::string where() const = 0;
    virtual Result<sandbox::Usage> usage() const = 0;
    /// Why it ended by itself, "" when it did not. Waits a moment for news of one that is just ending.
    virtual Task<std::string> cause() = 0;
    virtual bool can_sleep() const { return false; }
    /// Writes its memory to disk and ends its sandbox. Its stream stays open: who reads or writes waits for `wake`. After
    /// a failure it goes on as before, unless `cause` says that it ended. Not to be cancelled, as `wake`.
    virtual Task<Status> sleep() { co_return base::error(base::errc::unavailable, "it cannot sleep"); }
    /// image_errc, not_found, corrupt or timed_out: its memory is lost. Anything else may go by.
    virtual Task<Status> wake() { co_return base::error(base::errc::unavailable, "it does not sleep"); }
    /// Kills every process of it and removes what it was given. Idempotent.
    virtual Task<void> end() = 0;
};

/// What starting needs. Outlives every program.
struct Launchpad {
    asio::io_context& io;
    base::BlockingPool& pool;
    sandbox::Sandboxes& sandboxes;
    workspace::VolumeStore& volumes;  ///< the servers' own, apart from those of workspaces
    sandbox::EgressProxy& egress;
    std::string mounts;  ///< directory below which trees are mounted
    std::string default_template;
    sandbox::ImageStore* images = nullptr;  ///< null: no server sleeps
    /// The host's directory of a workspace's files, mounted for as long as what comes with it is held.
    std::function<Task<Result<std::pair<std::string, std::shared_ptr<void>>>>(std::string workspace)>
        workspace_files;
};

/// In a sandbox of its own: its volume as home and /workspace, and the host paths that it may see. Not to be
/// cancelled. `log` and `refusals` are filled for as long as it runs. Of `settings` and the entry's own variables the latter
/// win.
Task<Result<std::unique_ptr<Program>>> start_in_sandbox(Launchpad& pad, config::ServerEntry const& entry,
                                                        std::map<std::string, std::string> settings,
                                                        std::shared_ptr<LogBuffer> log,
                                                        std::shared_ptr<Refusals> refusals);
/// A child of this process with all of its rights.
Task<Result<std::unique_ptr<Program>>> start_on_host_insecurely(Launchpad& pad,
                                                                config::ServerEntry const& entry,
                                                                std::shared_ptr<LogBuffer> log);

/// At start: trees that a crash left mounted below `directory`.
void unmount_leftovers(std::string const& directory);
/// Safe as a file name and as a volume id, and different for different names.
std::string id_of(std::string const& server_name);
/// The same as an owner of memory images, whose names have fewer letters.
std::string image_owner(std::string const& server_name);

}  // namespace servers
