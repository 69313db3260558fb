#include "modern_codec.hpp"

#include <base/hash.hpp>

namespace mcp {
namespace {

constexpr std::string_view kVersion = "io.modelcontextprotocol/protocolVersion";
constexpr std::string_view kCapabilities = "io.modelcontextprotocol/clientCapabilities";
constexpr std::string_view kLogLevel = "io.modelcontextprotocol/logLevel";
constexpr std::string_view kServerInfo = "io.modelcontextprotocol/serverInfo";
constexpr std::size_t kMaxListenUris = 1000;
constexpr std::int64_t kListTtlMs = 60'000;

bool may_ask(std::string_view method) {
    return method == "tools/call" || method == "prompts/get" || method == "resources/read";
}

/// Only these carry caching hints, and a change notice covers all but the reads.
std::optional<std::int64_t> ttl_of(std::string_view method) {
    if (method == "server/discover" || method == "tools/list" || method == "prompts/list" ||
        method == "resources/templates/list")
        return kListTtlMs;
    if (method == "resources/list" || method == "resources/read") return 0;
    return std::nullopt;
}

Json dressed(Json result, std::string_view method, Endpoint const& endpoint) {
    if (!result.contains("resultType")) result["resultType"] = "complete";
    result["_meta"][std::string(kServerInfo)] = endpoint.server_info;
    if (auto const ttl = ttl_of(method); ttl && result["resultType"] == "complete") {
        result["ttlMs"] = *ttl;
        // Lists follow the caller's toolsets and rights.
        result["cacheScope"] = method == "server/discover" ? "public" : "private";
    }
    return result;
}

Json discover(Endpoint const& endpoint) {
    Json out{{"supportedVersions", supported_versions()}, {"capabilities", endpoint.capabilities(true)}};
    if (!endpoint.features.instructions.empty()) out["instructions"] = endpoint.features.instructions;
    return out;
}

/// What a request's state is bound to: the same caller asking for the same thing.
std::string binding_of(std::string const& principal, std::string const& method, Json const& params) {
    return principal + '\0' + method + '\0' + base::sha256_hex(base::dump(params));
}

Json without_round(Json const& params) {
    Json out = Json::object();
    for (auto const& [key, value] : params.items())
        if (key != "_meta" && key != "inputResponses" && key != "requestState") out[key] = value;
    return out;
}

/// errors: -32602 for state that is altered, expired, or made for another caller or request.
template <class Binding>
Round read_round(Json const& params, Binding const& binding, Seal const& seal) {
    Round round;
    auto const state = params.find("requestState");
    if (state != params.end()) {
        auto opened = state->is_string() ? seal.open("mrtr", binding(), state->get_ref<std::string const&>())
                                         : std::nullopt;
        if (!opened)
            throw bad_params(
                "Invalid params: \"requestState\" is not one of ours for this request, or expired");
        round.state = std::move((*opened)["s"]);
        for (auto const& [key, answer] : (*opened)["a"].items()) round.answers[key] = answer;
    }
    auto const responses = params.find("inputResponses");
    if (responses != params.end()) {
        check_answers(*responses);
        for (auto const& [key, answer] : responses->items()) round.answers[key] = answer;
    }
    return round;
}

template <class Binding>
Json input_required(InputRequired asked, std::map<std::string, Json> const& answered, Binding const& binding,
                    Endpoint const& endpoint) {
    Json out{{"resultType", "input_required"}, {"inputRequests", input_requests(asked.questions)}};
    if (!asked.state.is_null() || !answered.empty()) {
        Json sealed{{"s", std::move(asked.state)}, {"a", answered}};
        out["requestState"] = endpoint.seal.close("mrtr", binding(), sealed, endpoint.options.state_ttl);
    }
    return out;
}

RpcException tasks_missing() {
    Json extensions = Json::object();
    extensions[std::string(kTasksExtension)] = Json::object();
    Json data = Json::object();
    data["requiredCapabilities"]["extensions"] = std::move(extensions);
    return rpc_exception(code::missing_capability, "Missing required client capability", std::move(data));
}

Json serve_tasks(Endpoint& endpoint, std::string const& method, Json const& params, ActiveCall const& call) {
    if (!call.client_has_extension(kTasksExtension)) throw tasks_missing();
    auto const task = endpoint.tasks.find(call.caller().principal, string_param(params, "taskId"));
    if (!task) throw bad_params("Task not found");
    if (method == "tasks/get") return task->show();
    if (method == "tasks/cancel") task->cancel();
    if (method == "tasks/update") {
        auto const responses = params.value("inputResponses", Json(nullptr));
        if (!responses.is_object())
            throw bad_params("Invalid params: \"inputResponses\" is required and an object");
        check_answers(responses);
        task->update(responses);
    }
    return Json::object();
}

Filter read_filter(Json const& params, Endpoint& endpoint, ActiveCall const& call, Json& honoured) {
    auto const asked = params.value("notifications", Json(nullptr));
    if (!asked.is_object()) throw bad_params("Invalid params: \"notifications\" is required and an object");
    Filter filter;
    auto const flag = [&](char const* name, bool offered, bool& wanted) {
        auto const it = asked.find(name);
        if (it == asked.end()) return;
        if (!it->is_boolean()) throw bad_params(std::string("Invalid params: \"") + name + "\" is a boolean");
        wanted = offered && it->get<bool>();
        if (wanted) honoured[name] = true;
    };
    auto const names = [&](char const* name, std::set<std::string>& wanted, auto const& offered) {
        auto const it = asked.find(name);
        if (it == asked.end()) return;
        if (!it->is_array() || it->size() > kMaxListenUris)
            throw bad_params(std::string("Invalid params: \"") + name +
                             "\" is an array of at most 1000 strings");
        Json kept = Json::array();
        for (auto const& entry : *it) {
            if (!entry.is_string())
                throw bad_params(std::string("Invalid params: \"") + name + "\" holds strings");
            auto const text = entry.get<std::string>();
            if (offered(text) && wanted.insert(text).second) kept.push_back(text);
        }
        honoured[name] = std::move(kept);
    };
    flag("toolsListChanged", !endpoint.features.tools.empty() || endpoint.features.more, filter.tools);
    flag("promptsListChanged", !endpoint.features.prompts.empty() || endpoint.features.more, filter.prompts);
    flag("resourcesListChanged", endpoint.features.resources.has_value(), filter.resources);
    if (endpoint.features.resources)
        names("resourceSubscriptions", filter.uris, [](std::string const&) { return true; });
    for (auto const& uri : filter.uris) endpoint.watch(uri);
    if (asked.contains("taskIds")) {
        if (!call.client_has_extension(kTasksExtension)) throw tasks_missing();
        names("taskIds", filter.tasks, [&](std::string const& id) {
            return endpoint.tasks.find(call.caller().principal, id) != nullptr;
        });
    }
    return filter;
}

/// Leaves the table however the coroutine ends.
struct Joined {
    Joined(Listeners& t, Listener& l) : table(t), listener(l) { table.join(listener); }
    ~Joined() { table.leave(listener); }
    Listeners& table;
    Listener& listener;
};

Task<Json> listen(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<ActiveCall> call, Json params) {
    Listener listener(endpoint->executor);
    Json honoured = Json::object();
    listener.filter = read_filter(params, *endpoint, *call, honoured);
    listener.id = call->id;
    listener.outlet = call->outlet();
    Json ack = Json::object();
    ack["notifications"] = std::move(honoured);
    listener.outlet->deliver(
        notification_text("notifications/subscriptions/acknowledged", tagged(std::move(ack), call->id)));
    Joined const joined(endpoint->listeners, listener);
    while (!co_await listener.ended.wait(std::chrono::hours(24))) {
    }
    Json out = Json::object();
    co_return tagged(std::move(out), call->id);
}

int http_status(RpcError const& error) {
    switch (error.code) {
        case code::method_not_found:
            return 404;
        case code::header_mismatch:
        case code::missing_capability:
        case code::unsupported_version:
        case code::invalid_request:
            return 400;
        default:
            return 200;
    }
}

Answer failed(RpcError error) {
    auto const status = http_status(error);
    return Answer::failure(std::move(error), status);
}

}  // namespace

std::vector<std::string> const& supported_versions() {
    static std::vector<std::string> const versions{std::string(kModernVersion), "2025-11-25", "2025-06-18",
                                                   "2025-03-26"};
    return versions;
}

bool has_claim(Message const& message) {
    auto const meta = message.params.find("_meta");
    return meta != message.params.end() && meta->contains(kVersion);
}

bool is_modern_only(std::string_view method) {
    return method == "server/discover" || method == "subscriptions/listen";
}

RpcError missing_claims() {
    return RpcError{code::invalid_params,
                    "Invalid params: \"_meta\" lacks io.modelcontextprotocol/protocolVersion and "
                    "io.modelcontextprotocol/clientCapabilities",
                    nullptr};
}

RpcError version_unsupported(std::string const& requested) {
    return RpcError{code::unsupported_version, "Unsupported protocol version",
                    Json{{"supported", supported_versions()}, {"requested", requested}}};
}

Claims read_claims(Message const& message) {
    auto const meta = message.params.find("_meta");
    if (meta == message.params.end()) throw RpcException(missing_claims());
    Claims claims;
    auto const version = meta->find(kVersion);
    if (version == meta->end() || !version->is_string())
        throw bad_params("Invalid params: \"_meta\" needs " + std::string(kVersion) + ", a string");
    claims.version = version->get<std::string>();
    auto const capabilities = meta->find(kCapabilities);
    if (capabilities == meta->end() || !capabilities->is_object())
        throw bad_params("Invalid params: \"_meta\" needs " + std::string(kCapabilities) + ", an object");
    claims.capabilities = *capabilities;
    claims.meta = passed_meta(message.params);
    if (auto const level = meta->find(kLogLevel); level != meta->end()) {
        claims.log_level =
            level->is_string() ? log_level_from(level->get_ref<std::string const&>()) : std::nullopt;
        if (!claims.log_level) throw bad_params("Invalid params: unknown log level");
    }
    if (auto const token = meta->find("progressToken"); token != meta->end()) {
        if (!token->is_string() && !token->is_number_integer())
            throw bad_params("Invalid params: \"progressToken\" is a string or an integer");
        claims.progress_token = *token;
    }
    return claims;
}

Task<Answer> answer_modern(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<ActiveCall> call,
                           Message message) {
    std::string const method = message.method;
    Json bound;  // the params that a request's state is for; hashed only when there is one
    auto const binding = [&] { return binding_of(call->caller().principal, method, bound); };
    try {
        if (method == "server/discover")
            co_return Answer{dressed(discover(*endpoint), method, *endpoint), {}, 200};
        if (method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel") {
            auto result = serve_tasks(*endpoint, method, message.params, *call);
            co_return Answer{dressed(std::move(result), method, *endpoint), {}, 200};
        }
        if (method == "subscriptions/listen") {
            auto result = co_await listen(endpoint, call, std::move(message.params));
            co_return Answer{dressed(std::move(result), method, *endpoint), {}, 200};
        }
        call->may_ask = may_ask(method);
        Json const& declared = call->client_capabilities();
        bool const can_answer =
            declared.contains("elicitation") || declared.contains("sampling") || declared.contains("roots");
        if (call->may_ask && (can_answer || message.params.contains("requestState"))) {
            bound = without_round(message.params);
            call->round = read_round(message.params, binding, endpoint->seal);
        }
        auto result = co_await endpoint->handle(method, std::move(message.params), call);
        if (!result)
            co_return failed(
                RpcError{code::method_not_found, "Method not found: " + method.substr(0, 128), nullptr});
        co_return Answer{dressed(std::move(*result), method, *endpoint), {}, 200};
    } catch (InputRequired& asked) {
        auto result = input_required(std::move(asked), call->answered(), binding, *endpoint);
        co_return Answer{dressed(std::move(result), method, *endpoint), {}, 200};
    } catch (...) {
        co_return failed(error_from(std::current_exception()));
    }
}

}  // namespace mcp
