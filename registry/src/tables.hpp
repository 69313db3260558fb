#pragma once
#include "database.hpp"

#include <registry/registry.hpp>

// The statements, by table. All run inside the writer's transaction; a failed call has changed nothing.
namespace registry::tables {

Status insert(Database&, WorkspaceRecord const&);
Status insert_all(Database&, std::vector<WorkspaceRecord> const&);         ///< all or none
Status update(Database&, WorkspaceRecord const&);
Status touch(Database&, std::string const& id, std::int64_t active_ms);    ///< no such workspace: nothing happens
Status remove_workspace(Database&, std::string const& id);
Result<std::vector<WorkspaceRecord>> workspaces(Database&);

Status change_images(Database&, std::string const& workspace, ImageChange const&);           ///< all or nothing
Status update_with_images(Database&, WorkspaceRecord const&, ImageChange const&);           ///< all or nothing
Result<std::vector<ImageRecord>> images(Database&);

Status insert(Database&, SnapshotRecord const&, std::optional<ImageRecord> const&);     ///< both or neither
Status remove_snapshot(Database&, std::string const& id);
Result<std::vector<SnapshotRecord>> snapshots(Database&);

Status put(Database&, ProcessRecord const&);
Status put_all(Database&, std::vector<ProcessRecord> const&);              ///< all or none
Result<std::optional<ProcessRecord>> process(Database&, std::string const& id);
Result<std::vector<ProcessRecord>> processes_of(Database&, std::string const& workspace, std::size_t limit);

Status put(Database&, PreviewRecord const&);
Status delete_preview(Database&, std::string const& id);
Result<std::vector<PreviewRecord>> previews(Database&);

struct AuditEntry {
    std::int64_t at_ms = 0;
    std::string workspace, what, detail;    ///< detail is JSON text
};
Status add(Database&, AuditEntry const&);
Result<base::Json> recent_audit(Database&, std::string const& workspace, std::size_t limit);    ///< newest first

Result<std::string> secret(Database&, std::string const& name, std::size_t bytes);

Result<std::vector<ToolPin>> tool_pins(Database&, std::string const& server);
Status put_pins(Database&, std::vector<ToolPin> const&);                   ///< all or none
Result<std::optional<ServerOffer>> server_offer(Database&, std::string const& server);
Status put_offer(Database&, std::string const& server, ServerOffer const&);
Status forget_server(Database&, std::string const& server);

/// Forgets the oldest audit entries and ended processes beyond what is kept.
Status prune(Database&);

}  // namespace registry::tables
