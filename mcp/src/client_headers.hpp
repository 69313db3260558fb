#pragma once
#include "endpoint.hpp"

// The fields with which a client repeats its body over HTTP (2026-07-28, basic/transports/streamable-http).
namespace mcp {

/// The member of params that Mcp-Name repeats; null when the method has none.
char const* name_member(std::string_view method);

/// The annotated arguments of a tool. errc::invalid says which annotation makes the tool unusable over HTTP.
base::Result<std::vector<HeaderParam>> header_params_of(Json const& tool_definition);

/// Field and value for each annotated argument that is there.
std::vector<std::pair<std::string, std::string>> header_values(std::vector<HeaderParam> const&,
                                                               Json const& arguments);

/// As it is when it is plain visible ASCII, else in the base64 form.
std::string field_value(std::string const& text);

}  // namespace mcp
