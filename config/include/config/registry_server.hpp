#pragma once
#include <base/result.hpp>

#include <string>

// The MCP registry's server.json (schema of 2025-12-11): what a publisher says about one server.
namespace config {

/// By its members alone; `servers_of_registry` says whether it is a good one.
bool is_registry_server(std::string const& text);
/// The text of a servers.json with one entry for it: the first of its packages that can be started here as it was
/// published (npm or PyPI, stdio, one exact version), else the first of its addresses. What it wants to be told becomes
/// ${VARIABLE}; its own texts are taken as they stand, and expand nothing. errc::invalid says why there is no entry, e.g.
/// a version that may be another one tomorrow, or a hash that nothing here would check.
base::Result<std::string> servers_of_registry(std::string const& text, std::string const& name);

}  // namespace config
