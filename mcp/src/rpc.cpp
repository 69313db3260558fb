#include "rpc.hpp"

namespace mcp {
namespace {

constexpr std::string_view kOpen = R"({"jsonrpc":"2.0")";

std::string with_id(Json const& id) {
    std::string out(kOpen);
    if (!id.is_null()) out.append(",\"id\":").append(base::dump(id));
    return out;
}

std::string with_method(std::string out, std::string_view method, Json const& params) {
    out.append(",\"method\":").append(base::dump(Json(method)));
    if (!params.is_null()) out.append(",\"params\":").append(base::dump(params));
    out += '}';
    return out;
}

}  // namespace

RpcException rpc_exception(int code, std::string message, Json data) {
    return RpcException(RpcError{code, std::move(message), std::move(data)});
}

std::string result_text(Json const& id, Json const& result) {
    auto const body = base::dump(result);
    auto out = with_id(id);
    out.reserve(out.size() + body.size() + 12);
    out.append(",\"result\":").append(body) += '}';
    return out;
}

Json error_json(RpcError const& error) {
    Json out{{"code", error.code}, {"message", error.message}};
    if (!error.data.is_null()) out["data"] = error.data;
    return out;
}

std::string error_text(Json const& id, RpcError const& error) {
    return with_id(id).append(",\"error\":").append(base::dump(error_json(error))) += '}';
}

std::string notification_text(std::string_view method, Json const& params) {
    return with_method(std::string(kOpen), method, params);
}

std::string request_text(Json const& id, std::string_view method, Json const& params) {
    return with_method(with_id(id), method, params);
}

}  // namespace mcp
