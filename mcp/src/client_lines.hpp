#pragma once
#include "client_core.hpp"

namespace mcp {

/// One message a line, each way, on a byte stream.
std::unique_ptr<Link> lines_link(ClientCore&, std::unique_ptr<base::ByteStream>);

}  // namespace mcp
