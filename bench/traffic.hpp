#pragma once
#include "tool_connection.hpp"

#include <string>
#include <vector>

namespace bench {

/// Calls a second when one call is always under way on each of `lanes`, of which several may be the same
/// connection. Everything is composed before the clock starts.
double rate(std::vector<ToolConnection*> const& lanes, int calls, std::string const& tool,
            base::Json const& arguments);

}  // namespace bench
