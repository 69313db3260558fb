#pragma once
#include <set>
#include <string>
#include <string_view>

namespace mcp {

/// What the query of an endpoint's URL asks for: ?toolsets=a,b
std::set<std::string> toolsets_from(std::string_view query);

}  // namespace mcp
