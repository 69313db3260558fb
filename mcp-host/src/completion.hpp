#pragma once
#include "tools/tools.hpp"
#include <mcp/features.hpp>

namespace host {

/// Proposals for what a user is about to type: the variables of the resource templates (a path needs the id
/// beside it, and is completed from the real directory) and the arguments of prompts. An argument that we
/// know nothing for gets none. errors: -32602 for a template or prompt that is not ours. `tools` outlives
/// every call.
decltype(mcp::Features::complete) completion(Tools& tools, std::vector<mcp::Prompt> const& prompts);

}  // namespace host
