#pragma once
#include "lifecycle.hpp"
#include "turn.hpp"
#include <base/asio.hpp>
#include <registry/registry.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/sandbox.hpp>
#include <workspace/workspaces.hpp>

#include <map>
#include <memory>
#include <string>

namespace workspace {

/// What the registry's `settings` column holds for a workspace.
struct Settings {
    std::map<std::string, std::string> env;
    std::vector<std::string> allow;
    sandbox::Limits limits;
    std::uint64_t disk_bytes = 0;
    IdlePolicy idle;
};
base::Json to_json(Settings const&);
Settings settings_from(base::Json const&);

/// One workspace in memory: its record, and its sandbox while it has one. Shared by the table and by leases.
class Workspace {
  public:
    Workspace(asio::any_io_executor ex, registry::WorkspaceRecord r)
        : record(std::move(r)), settings(settings_from(record.settings)), turn(ex) {}

    void used() { last_used = base::Clock::now(); }

    registry::WorkspaceRecord record;
    Settings settings;
    std::shared_ptr<sandbox::Sandbox> sandbox;  ///< set while record.state is running
    std::shared_ptr<sandbox::EgressPolicy const> policy;
    Turn turn;  ///< start, stop and delete, one at a time
    bool starting = false, deleted = false;
    int leases = 0;
    base::Clock::time_point last_used = base::Clock::now();
    base::Clock::time_point look_again = base::Clock::time_point::min();  ///< next look for running processes
};

}  // namespace workspace
