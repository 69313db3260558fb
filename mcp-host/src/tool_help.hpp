#pragma once
#include <base/json.hpp>

#include <string>
#include <vector>

// What `berth tool` shows of tools, from their definitions as tools/list gives them. Some are of servers that nobody here wrote:
// whatever shape they have, the text is plain, and nothing throws.
namespace host {

/// A line for each: its name, and the first sentence of its description.
std::string tool_lines(std::vector<base::Json> const& tools);

/// One tool: its description, a line for each argument (those of an object below it, as "limits.memory"), and a call of it to copy.
std::string tool_help(base::Json const& tool);

}  // namespace host
