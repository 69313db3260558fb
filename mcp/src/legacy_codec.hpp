#pragma once
#include "endpoint.hpp"
#include "legacy_peer.hpp"

// MCP 2025-11-25, 2025-06-18 and 2025-03-26: a session that begins with initialize.
namespace mcp {

bool is_legacy_version(std::string_view version);
/// Fills the peer and gives initialize's result. errors: RpcException -32602.
Json initialize(Json const& params, LegacyPeer& peer, Endpoint const& endpoint);
/// What a request of this session may know and do.
Origin legacy_origin(Message const& message, LegacyPeer const& peer, Caller caller);
/// Notifications and responses of the client.
void take_legacy(Message message, LegacyPeer& peer, Endpoint const& endpoint, Caller const& caller);
Task<Answer> answer_legacy(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<ActiveCall> call,
                           std::shared_ptr<LegacyPeer> peer, Message message);

}  // namespace mcp
