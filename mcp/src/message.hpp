#pragma once
#include "rpc.hpp"

#include <variant>

namespace mcp {

/// One JSON-RPC message from a peer, checked once: nothing reads its bytes again.
struct Message {
    enum class Kind { request, notification, response };
    Kind kind = Kind::notification;
    Json id;  ///< string or integer; null for a notification and an id-less error
    std::string method;
    Json params = Json::object();   ///< an object, also when the message had none
    Json result;                    ///< response: an object, or
    std::optional<RpcError> error;  ///< the peer's error
};

/// Refused, with the answer it gets. `id` is null when it could not be read.
struct BadMessage {
    RpcError error;
    Json id;
};

/// Strict: one object, UTF-8, no duplicate keys, within the limits. A batch is refused as an invalid request.
std::variant<Message, BadMessage> parse_message(std::string_view text, base::JsonLimits limits);

/// An id as a map key: "1" and 1 stay apart.
std::string id_key(Json const& id);

}  // namespace mcp
