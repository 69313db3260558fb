#pragma once
#include "tools/tools.hpp"
#include <mcp/features.hpp>

// What a client can read without calling a tool: workspaces, their files, what their commands wrote. Names
// are in resource_uri.hpp. Owners see only their own; to anyone else it does not exist.
namespace host {

/// One page of resources/list: fifty workspaces at most, in the order given (Workspaces::list's). The cursor
/// is where the page before ended, so that workspaces which come and go meanwhile neither hide nor repeat
/// others. Throws RpcException -32602 for a cursor that is none.
mcp::Page workspaces_page(std::vector<workspace::View> const& all, std::string const& cursor);

/// What resources/templates/list gives.
Json resource_templates();

/// Lists workspaces, newest first; reads all three kinds. Reading a workspace or a file wakes nothing, and a
/// file is read whole or, beyond 4 MiB, not at all. `tools` outlives every call.
mcp::Resources resources(Tools& tools);

/// From now on tells listeners what changes: the list, a workspace's state, and a file that a tool wrote,
/// together with its directory. `hub` outlives the workspaces' last change.
void announce_changes(workspace::Workspaces&, mcp::Hub& hub);

/// A directory as its resource shows it, at most this many entries.
inline constexpr std::size_t kMaxListedEntries = 1000;

}  // namespace host
