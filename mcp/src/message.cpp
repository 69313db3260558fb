#include "message.hpp"

namespace mcp {
namespace {

BadMessage invalid(std::string why, Json id = nullptr) {
    return {RpcError{code::invalid_request, "Invalid request: " + std::move(why), nullptr}, std::move(id)};
}

bool valid_id(Json const& id) { return id.is_string() || id.is_number_integer(); }

std::variant<Message, BadMessage> response(Json& document, Json id) {
    Message out;
    out.kind = Message::Kind::response;
    bool const has_result = document.contains("result"), has_error = document.contains("error");
    if (has_result == has_error) return invalid("a response has either a result or an error");
    if (has_result) {
        if (id.is_null()) return invalid("a result needs an id");
        if (!document["result"].is_object()) return invalid("a result is an object", std::move(id));
        out.result = std::move(document["result"]);
    } else {
        Json& error = document["error"];
        auto const member = [&error](char const* name) { return error.is_object() && error.contains(name); };
        if (!member("code") || !error["code"].is_number_integer() || !member("message") ||
            !error["message"].is_string())
            return invalid("an error is an object with an integer code and a message", std::move(id));
        out.error = RpcError{error["code"].get<int>(), error["message"].get<std::string>(),
                             error.value("data", Json(nullptr))};
    }
    out.id = std::move(id);
    return out;
}

}  // namespace

std::variant<Message, BadMessage> parse_message(std::string_view text, base::JsonLimits limits) {
    auto parsed = base::parse_json(text, limits);
    if (!parsed) {
        if (base::is(parsed.error(), base::errc::limit)) return invalid(parsed.error().context);
        return BadMessage{RpcError{code::parse_error, "Parse error: " + parsed.error().context, nullptr},
                          nullptr};
    }
    Json& document = *parsed;
    if (document.is_array()) return invalid("batches are not supported; send one message");
    if (!document.is_object()) return invalid("a message is an object");

    Json id;
    if (auto const it = document.find("id"); it != document.end()) {
        // JSON-RPC writes null where a server could not read the id; MCP leaves it out.
        bool const unread = it->is_null() && document.contains("error") && !document.contains("method");
        if (!unread && !valid_id(*it)) return invalid("an id is a string or an integer");
        id = std::move(*it);
    }
    auto const version = document.find("jsonrpc");
    if (version == document.end() || *version != "2.0")
        return invalid("\"jsonrpc\" must be \"2.0\"", std::move(id));

    auto const method = document.find("method");
    if (method == document.end()) {
        if (!document.contains("result") && !document.contains("error"))
            return invalid("no \"method\"", std::move(id));
        return response(document, std::move(id));
    }
    if (document.contains("result") || document.contains("error"))
        return invalid("a message with a method has no result or error", std::move(id));
    if (!method->is_string() || method->get_ref<std::string const&>().empty())
        return invalid("\"method\" is a non-empty string", std::move(id));

    Message out;
    out.kind = id.is_null() ? Message::Kind::notification : Message::Kind::request;
    out.method = std::move(method->get_ref<std::string&>());
    if (auto const params = document.find("params"); params != document.end()) {
        if (!params->is_object())
            return BadMessage{
                RpcError{code::invalid_params, "Invalid params: \"params\" is an object", nullptr},
                std::move(id)};
        out.params = std::move(*params);
    }
    if (auto const meta = out.params.find("_meta"); meta != out.params.end() && !meta->is_object())
        return BadMessage{RpcError{code::invalid_params, "Invalid params: \"_meta\" is an object", nullptr},
                          std::move(id)};
    out.id = std::move(id);
    return out;
}

std::string id_key(Json const& id) { return base::dump(id); }

}  // namespace mcp
