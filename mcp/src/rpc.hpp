#pragma once
#include <mcp/features.hpp>

#include <string>
#include <string_view>

// JSON-RPC 2.0 as text: codes, and the four kinds of message that we write.
namespace mcp {

namespace code {
inline constexpr int parse_error = -32700;
inline constexpr int invalid_request = -32600;
inline constexpr int method_not_found = -32601;
inline constexpr int invalid_params = -32602;
inline constexpr int internal_error = -32603;
inline constexpr int resource_not_found = -32002;  // legacy only; modern says invalid_params
inline constexpr int header_mismatch = -32020;     // the following three: modern only
inline constexpr int missing_capability = -32021;
inline constexpr int unsupported_version = -32022;
}  // namespace code

inline constexpr std::string_view kTasksExtension = "io.modelcontextprotocol/tasks";

RpcException rpc_exception(int code, std::string message, Json data = nullptr);
inline RpcException bad_params(std::string message, Json data = nullptr) {
    return rpc_exception(code::invalid_params, std::move(message), std::move(data));
}

/// `id` null = absent, as MCP has it when the id could not be read.
std::string result_text(Json const& id, Json const& result);
std::string error_text(Json const& id, RpcError const&);
std::string notification_text(std::string_view method, Json const& params);
std::string request_text(Json const& id, std::string_view method, Json const& params);
Json error_json(RpcError const&);

/// A request's answer before it meets a transport.
struct Answer {
    Json result;
    std::optional<RpcError> error;
    int http_status = 200;
    static Answer failure(RpcError error, int http_status = 200) {
        return {nullptr, std::move(error), http_status};
    }
    std::string text(Json const& id) const {
        return error ? error_text(id, *error) : result_text(id, result);
    }
};

/// Where messages of one request, or of one session, go. Both return at once; bounds are the
/// implementation's.
class Outlet {
  public:
    virtual ~Outlet() = default;
    /// For what may be lost. False when the peer is gone or too slow to take it.
    virtual bool notify(std::string message) = 0;
    /// For what may not: responses and questions.
    virtual void deliver(std::string message) = 0;
};

}  // namespace mcp
