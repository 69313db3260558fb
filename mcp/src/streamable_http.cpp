#include "streamable_http.hpp"

#include "headers.hpp"
#include "legacy_codec.hpp"
#include "modern_codec.hpp"
#include "stream.hpp"

namespace mcp {
namespace {

Task<void> run_call(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<Stream> stream,
                    std::shared_ptr<ActiveCall> call, std::shared_ptr<Running> running, Message message) {
    Json const id = message.id;
    std::string text;
    int status = 200;
    try {
        auto const answer = co_await answer_modern(endpoint, call, std::move(message));
        status = answer.http_status;
        text = answer.text(id);
    } catch (...) {  // nothing but cancellation gets here
    }
    call->end();
    if (endpoint->stopping && running->cancelled) {
        text = error_text(id, RpcError{code::internal_error, "The server is stopping", nullptr});
        status = 503;
    }
    if (text.empty())
        stream->end();
    else
        stream->finish(std::move(text), status);
}

}  // namespace

Task<void> StreamableHttp::handle(http::Request request, http::Reply& reply) {
    auto const self = shared_from_this();
    if (endpoint_->stopping) {
        co_await refuse(reply, http::Status::service_unavailable, nullptr, code::internal_error,
                        "The server is stopping");
    } else if (request.verb == http::Verb::post) {
        co_await post(std::move(request), reply);
    } else if (request.field("MCP-Protocol-Version") == kModernVersion) {
        http::Fields fields;  // GET and DELETE are of the legacy eras
        fields.set("Allow", "POST");
        co_await reply.send(http::Status::method_not_allowed, std::move(fields), {});
    } else if (request.verb == http::Verb::get) {
        co_await legacy_.get(std::move(request), reply);
    } else {
        co_await legacy_.remove(std::move(request), reply);
    }
}

Task<void> StreamableHttp::post(http::Request request, http::Reply& reply) {
    if (!is_json(request.field("Content-Type"))) {
        co_await refuse(reply, http::Status::unsupported_media_type, nullptr, code::invalid_request,
                        "Content-Type must be application/json");
        co_return;
    }
    auto const accept = request.field("Accept");
    if (!accepts(accept, "application/json") || !accepts(accept, "text/event-stream")) {
        co_await refuse(reply, http::Status::not_acceptable, nullptr, code::invalid_request,
                        "Accept must name application/json and text/event-stream");
        co_return;
    }
    base::JsonLimits limits;
    limits.max_bytes = endpoint_->options.max_message_bytes;
    limits.max_depth = endpoint_->options.max_depth;
    auto parsed = parse_message(request.body, limits);
    request.body = {};  // nothing reads it a second time
    if (auto* bad = std::get_if<BadMessage>(&parsed)) {
        co_await refuse(reply, http::Status::bad_request, std::move(bad->id), std::move(bad->error));
        co_return;
    }
    auto message = std::move(std::get<Message>(parsed));
    Caller caller;
    caller.principal = request.principal.name;
    caller.toolsets = toolsets_from(request.query);

    bool const claimed = has_claim(message), is_request = message.kind == Message::Kind::request;
    bool const modern_field = request.field("MCP-Protocol-Version") == kModernVersion;
    if (is_request && !claimed && (modern_field || is_modern_only(message.method))) {
        auto error = missing_claims();
        co_await refuse(reply, http::Status::bad_request, std::move(message.id), std::move(error));
    } else if (is_request && claimed) {
        co_await modern(std::move(request), reply, std::move(message), std::move(caller));
    } else if (message.kind == Message::Kind::notification && (claimed || modern_field)) {
        http::Fields fields;  // this revision has no client notification over HTTP that does anything
        co_await reply.send(http::Status::accepted, std::move(fields), {});
    } else {
        co_await legacy_.post(std::move(request), reply, std::move(message), std::move(caller));
    }
}

Task<void> StreamableHttp::modern(http::Request request, http::Reply& reply, Message message, Caller caller) {
    std::optional<RpcError> failed;
    Origin origin;
    try {
        auto claims = read_claims(message);
        failed = check_headers(request, message, claims.version, *endpoint_, caller);
        if (!failed && claims.version != kModernVersion) failed = version_unsupported(claims.version);
        origin = Origin{std::move(caller), true, std::move(claims.capabilities),
                        std::move(claims.progress_token), claims.log_level, std::move(claims.meta)};
    } catch (RpcException const& e) {
        failed = e.error;
    }
    if (failed) {
        co_await refuse(reply, http::Status::bad_request, std::move(message.id), std::move(*failed));
        co_return;
    }
    auto const stream = std::make_shared<Stream>(endpoint_->executor);
    stream->attached = true;  // before the call says anything
    auto const call = std::make_shared<ActiveCall>(std::move(origin), stream);
    call->id = message.id;
    auto const running = std::make_shared<Running>();
    bool const listens = message.method == "subscriptions/listen";
    endpoint_->spawn(running, run_call(endpoint_, stream, call, running, std::move(message)), listens);
    Delivery delivery{stream, reply, {}, endpoint_->options.keep_alive};
    auto const outcome = co_await delivery.run();
    if (outcome == Delivery::Outcome::gone) {
        stream->end();
        running->cancel();
    }
}

}  // namespace mcp
