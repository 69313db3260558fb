#pragma once
#include "tools.hpp"

#include <servers/servers.hpp>

namespace host {

/// servers_list, server_status, server_restart, server_logs, server_approve (toolset `servers`). They stay
/// out of the default: a model that was steered by a server's words should not be the one who approves the
/// server's tools.
std::vector<mcp::Tool> server_tools(servers::Servers&);
/// search_tools, describe_tool, call_tool (toolset `search`): all servers' tools for the price of three.
std::vector<mcp::Tool> search_tools(servers::Servers&);

/// Resources and completions of the servers behind our own.
void add_servers(mcp::Features& features, servers::Servers&);

}  // namespace host
