#include "legacy_codec.hpp"

#include <array>

namespace mcp {
namespace {

constexpr std::array<std::string_view, 3> kVersions{"2025-11-25", "2025-06-18", "2025-03-26"};
constexpr std::size_t kMaxUris = 1000;

Json set_level(Json const& params, LegacyPeer& peer) {
    auto const level = log_level_from(string_param(params, "level"));
    if (!level) throw bad_params("Invalid params: unknown log level");
    peer.level = level;
    return Json::object();
}

Json subscribe(Json const& params, LegacyPeer& peer) {
    auto uri = string_param(params, "uri");
    if (peer.uris.size() >= kMaxUris) throw bad_params("Too many subscriptions");
    peer.uris.insert(std::move(uri));
    return Json::object();
}

Json unsubscribe(Json const& params, LegacyPeer& peer) {
    peer.uris.erase(string_param(params, "uri"));
    return Json::object();
}

}  // namespace

bool is_legacy_version(std::string_view version) {
    return std::find(kVersions.begin(), kVersions.end(), version) != kVersions.end();
}

Json initialize(Json const& params, LegacyPeer& peer, Endpoint const& endpoint) {
    auto const wanted = string_param(params, "protocolVersion");
    auto const capabilities = params.find("capabilities");
    if (capabilities == params.end() || !capabilities->is_object())
        throw bad_params("Invalid params: \"capabilities\" is required and an object");
    auto const info = params.find("clientInfo");
    if (info == params.end() || !info->is_object())
        throw bad_params("Invalid params: \"clientInfo\" is required and an object");
    peer.version = is_legacy_version(wanted) ? wanted : std::string(kVersions.front());
    peer.capabilities = *capabilities;
    Json out{{"protocolVersion", peer.version},
             {"capabilities", endpoint.capabilities(false)},
             {"serverInfo", endpoint.server_info}};
    if (!endpoint.features.instructions.empty()) out["instructions"] = endpoint.features.instructions;
    return out;
}

Origin legacy_origin(Message const& message, LegacyPeer const& peer, Caller caller) {
    Origin origin;
    origin.caller = std::move(caller);
    origin.capabilities = peer.capabilities;
    origin.log_level = peer.level.value_or(LogLevel::info);
    origin.meta = passed_meta(message.params);
    auto const meta = message.params.find("_meta");
    if (meta == message.params.end()) return origin;
    auto const token = meta->find("progressToken");
    if (token != meta->end() && (token->is_string() || token->is_number_integer()))
        origin.progress_token = *token;
    return origin;
}

void take_legacy(Message message, LegacyPeer& peer, Endpoint const& endpoint, Caller const& caller) {
    if (message.kind == Message::Kind::response) return peer.take(std::move(message));
    if (message.method == "notifications/initialized") peer.initialized = true;
    if (message.method == "notifications/roots/list_changed" && endpoint.features.roots_changed)
        endpoint.features.roots_changed(caller);
    if (message.method == "notifications/cancelled") {
        auto const id = message.params.find("requestId");
        if (id != message.params.end()) peer.cancel(*id);
    }
}

Task<Answer> answer_legacy(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<ActiveCall> call,
                           std::shared_ptr<LegacyPeer> peer, Message message) {
    call->on_completion = [weak = std::weak_ptr(peer)](std::string elicitation_id) {
        Json const params{{"elicitationId", std::move(elicitation_id)}};
        if (auto const there = weak.lock()) there->hear(notification_text("notifications/elicitation/complete", params));
    };
    try {
        auto const& method = message.method;
        if (method == "ping") co_return Answer{Json::object(), {}, 200};
        if (method == "logging/setLevel" && endpoint->features.logging) {
            auto result = set_level(message.params, *peer);
            co_return Answer{std::move(result), {}, 200};
        }
        if (endpoint->features.resources && method == "resources/subscribe") {
            auto result = subscribe(message.params, *peer);
            endpoint->watch(message.params["uri"].get<std::string>());
            co_return Answer{std::move(result), {}, 200};
        }
        if (endpoint->features.resources && method == "resources/unsubscribe") {
            auto result = unsubscribe(message.params, *peer);
            co_return Answer{std::move(result), {}, 200};
        }
        auto result = co_await endpoint->handle(method, std::move(message.params), call);
        if (result) co_return Answer{std::move(*result), {}, 200};
        co_return Answer::failure(
            RpcError{code::method_not_found, "Method not found: " + method.substr(0, 128), nullptr});
    } catch (...) {
        co_return Answer::failure(error_from(std::current_exception()));
    }
}

}  // namespace mcp
