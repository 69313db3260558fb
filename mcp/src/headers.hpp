#pragma once
#include "endpoint.hpp"
#include "message.hpp"
#include <mcp/toolsets.hpp>

// HTTP fields that repeat the body (2026-07-28, basic/transports/streamable-http).
namespace mcp {

/// The properties annotated with a valid `x-mcp-header`. Invalid annotations are left out: clients drop such
/// tools.
std::vector<HeaderParam> find_header_params(Json const& tool_definition);

/// Nothing, or why the fields do not say what the body says (-32020, HTTP 400). `version` is the body's
/// claim.
std::optional<RpcError> check_headers(http::Request const&, Message const&, std::string const& version,
                                      Endpoint const&, Caller const&);

/// Whether an Accept field takes this media type; an absent field takes all.
bool accepts(std::string_view accept, std::string_view type);
bool is_json(std::string_view content_type);

}  // namespace mcp
