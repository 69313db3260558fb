#pragma once
#include "endpoint.hpp"

namespace mcp {

/// One connection of newline-delimited messages, both eras on it, chosen by each message's own shape.
Task<void> serve_stdio(std::shared_ptr<Endpoint> endpoint, int in, int out, Caller caller);

}  // namespace mcp
