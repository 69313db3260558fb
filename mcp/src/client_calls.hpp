#pragma once
#include "client_core.hpp"

namespace mcp {

/// One call as a caller means it: input-required rounds answered, tasks followed, the result's shape checked.
Task<Outcome<Json>> make_call(std::shared_ptr<ClientCore>, std::string method, Json params, CallOptions);

/// All pages of a list, as one array of objects.
Task<Outcome<Json>> read_list(std::shared_ptr<ClientCore>, std::string method, std::string key);

/// Those tools that may be offered on; tells the events about the others, and remembers the annotations.
Json usable_tools(ClientCore&, Json tools);

}  // namespace mcp
