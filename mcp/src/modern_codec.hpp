#pragma once
#include "endpoint.hpp"
#include "message.hpp"

// MCP 2026-07-28: every request carries its claims; nothing is remembered between requests.
namespace mcp {

inline constexpr std::string_view kModernVersion = "2026-07-28";
/// Newest first; what server/discover and -32022 name.
std::vector<std::string> const& supported_versions();

/// The version claim makes a message modern, whatever its method.
bool has_claim(Message const&);
/// Methods that only this revision has: without claims they get -32602 naming what is missing.
bool is_modern_only(std::string_view method);
RpcError missing_claims();
RpcError version_unsupported(std::string const& requested);

struct Claims {
    std::string version;
    Json capabilities;
    std::optional<LogLevel> log_level;
    Json progress_token;
    Json meta;  ///< passed_meta
};
/// errors: RpcException -32602 (an HTTP 400).
Claims read_claims(Message const&);

/// Answers a request whose envelope and headers were found good. Takes what the claims say from `call`.
Task<Answer> answer_modern(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<ActiveCall> call,
                           Message message);

}  // namespace mcp
