#pragma once
#include "turn.hpp"
#include <base/asio.hpp>
#include <base/ids.hpp>
#include <registry/registry.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/sandbox.hpp>
#include <workspace/lifecycle.hpp>
#include <workspace/workspaces.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>

namespace workspace {

/// What the registry's `settings` column holds for a workspace.
struct Settings {
    std::map<std::string, std::string> env;
    std::vector<std::string> allow;
    sandbox::Limits limits;
    std::uint64_t disk_bytes = 0;
    IdlePolicy idle;
    sandbox::RuntimeKind runtime = sandbox::RuntimeKind::gvisor;
};
base::Json to_json(Settings const&);
Settings settings_from(base::Json const&);

/// One workspace in memory: its record, its sandbox while it has one, and the image it sleeps in. Shared by
/// the table and by leases.
class Workspace {
  public:
    Workspace(asio::any_io_executor ex, registry::WorkspaceRecord r)
        : record(std::move(r)), settings(settings_from(record.settings)), turn(ex) {}

    void used() { last_used = base::Clock::now(); }
    /// The machine's next state. One that it does not know is a mistake of ours: told in the log, and nothing
    /// changes.
    void happens(Event);
    bool deleted() const { return state == State::deleting; }
    bool in_use() const { return leases > 0 || streams > 0; }
    std::string next_image() const {
        return "g" + std::to_string(record.sleeps + 1) + "-" + base::random_id(5);
    }

    registry::WorkspaceRecord record;
    Settings settings;
    State state = State::stopped;
    std::shared_ptr<sandbox::Sandbox> sandbox;  ///< while it is awake, and on the way there and back
    std::weak_ptr<sandbox::Sandbox> found;      ///< what an earlier server had left running
    std::shared_ptr<sandbox::Sandbox>
        leaving;  ///< one that sleeps, while its slot still holds a mount of the files
    std::shared_ptr<sandbox::EgressPolicy const> policy;
    std::optional<registry::ImageRecord> image;  ///< while it is hibernated or waking
    Turn turn;                                   ///< start, wake, sleep, stop and delete, one at a time
    std::vector<std::string> lost_asleep;        ///< by going to sleep, of what it had awake
    bool replaced = false;  ///< by a snapshot that is on its way: calls wait for the turn
    int leases = 0;
    int streams = 0;  ///< connections to the outside
    Arrival arrival;  ///< the last from away, for those who waited for it
    std::uint64_t arrivals = 0;
    base::Clock::time_point last_used = base::Clock::now();
    base::Clock::time_point look_again = base::Clock::time_point::min();  ///< next look for running processes
    base::Clock::time_point sleep_again =
        base::Clock::time_point::min();  ///< a refused sleep is not tried before
    base::Clock::time_point unmount_at = base::Clock::time_point::max();  ///< while it sleeps, once its slot is gone
    std::uint64_t memory_bytes = 0;      ///< of its sandbox, as last seen
    std::uint64_t cpu_ms = 0;            ///< likewise, at `cpu_seen`
    base::Clock::time_point usage_seen{}, cpu_seen{};
};

}  // namespace workspace
