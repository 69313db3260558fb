#pragma once
#include "tools/tools.hpp"
#include <mcp/features.hpp>

#include <vector>

namespace host {

/// Ways to work with the tools, for a user to choose from. A `workspace` argument is an id or a name and has
/// to be the caller's. `tools` outlives every call.
std::vector<mcp::Prompt> prompts(Tools& tools);

}  // namespace host
