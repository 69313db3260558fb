#include "legacy_http.hpp"

#include "headers.hpp"
#include "legacy_codec.hpp"

#include <charconv>

namespace mcp {
namespace {

constexpr auto kSession = "Mcp-Session-Id";

Task<void> run_call(std::shared_ptr<Endpoint> endpoint, std::shared_ptr<HttpSession> session,
                    std::shared_ptr<Stream> stream, std::shared_ptr<ActiveCall> call,
                    std::shared_ptr<Running> running, Message message) {
    Json const id = message.id;
    std::string text;
    try {
        auto const answer = co_await answer_legacy(endpoint, call, session->peer, std::move(message));
        text = answer.text(id);
    } catch (...) {  // nothing but cancellation gets here
    }
    call->end();
    auto const it = session->peer->in_flight.find(id_key(id));
    if (it != session->peer->in_flight.end() && it->second == running) session->peer->in_flight.erase(it);
    if (running->cancelled || text.empty())
        stream->end();
    else
        stream->finish(std::move(text), 200);
}

/// "<stream>-<number>"
bool parse_event_id(std::string_view text, std::uint64_t& stream, std::uint64_t& number) {
    auto const* const end = text.data() + text.size();
    auto const first = std::from_chars(text.data(), end, stream);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '-') return false;
    auto const second = std::from_chars(first.ptr + 1, end, number);
    return second.ec == std::errc{} && second.ptr == end;
}

}  // namespace

Task<void> refuse(http::Reply& reply, http::Status status, Json id, RpcError error) {
    http::Fields fields;
    fields.set("Content-Type", "application/json");
    auto body = error_text(id, error);
    co_await reply.send(status, std::move(fields), std::move(body));
}

Task<void> refuse(http::Reply& reply, http::Status status, Json id, int code, std::string message) {
    RpcError error{code, std::move(message), nullptr};
    co_await refuse(reply, status, std::move(id), std::move(error));
}

Task<std::shared_ptr<HttpSession>> LegacyHttp::session_of(http::Request const& request, http::Reply& reply,
                                                          Json id) {
    std::shared_ptr<HttpSession> session;
    auto const version = request.field("MCP-Protocol-Version");
    if (!version.empty() && !is_legacy_version(version)) {
        co_await refuse(reply, http::Status::bad_request, id, code::invalid_request,
                        "Unsupported MCP-Protocol-Version");
        co_return session;
    }
    auto const name = request.field(kSession);
    if (name.empty()) {
        co_await refuse(reply, http::Status::bad_request, id, code::invalid_request,
                        "Mcp-Session-Id is missing: send initialize first");
        co_return session;
    }
    session = sessions_.find(name, request.principal.name);
    if (!session)
        co_await refuse(reply, http::Status::not_found, id, code::invalid_request,
                        "Session not found: initialize again");
    co_return session;
}

Task<void> LegacyHttp::post(http::Request request, http::Reply& reply, Message message, Caller caller) {
    bool const is_request = message.kind == Message::Kind::request;
    if (is_request && message.method == "initialize" && request.field(kSession).empty()) {
        co_await initialize(reply, std::move(message), std::move(caller));
        co_return;
    }
    auto const session = co_await session_of(request, reply, message.id);
    if (!session) co_return;
    if (!is_request) {
        take_legacy(std::move(message), *session->peer, *endpoint_, caller);
        http::Fields fields;
        co_await reply.send(http::Status::accepted, std::move(fields), {});
        co_return;
    }
    if (message.method == "initialize") {
        co_await refuse(reply, http::Status::bad_request, message.id, code::invalid_request,
                        "Already initialized");
        co_return;
    }
    co_await call(session, reply, std::move(message), std::move(caller));
}

Task<void> LegacyHttp::initialize(http::Reply& reply, Message message, Caller caller) {
    auto const session = sessions_.create(caller.principal);
    if (!session) {
        co_await refuse(reply, http::Status::service_unavailable, message.id, code::internal_error,
                        "Too many sessions");
        co_return;
    }
    std::string body;
    std::optional<RpcError> failed;
    try {
        body = result_text(message.id, mcp::initialize(message.params, *session->peer, *endpoint_));
    } catch (RpcException const& e) {
        failed = e.error;
    }
    if (failed) {
        sessions_.remove(*session);
        co_await refuse(reply, http::Status::bad_request, message.id, std::move(*failed));
        co_return;
    }
    http::Fields fields;
    fields.set("Content-Type", "application/json");
    fields.set(kSession, session->id);
    co_await reply.send(http::Status::ok, std::move(fields), std::move(body));
}

Task<void> LegacyHttp::call(std::shared_ptr<HttpSession> session, http::Reply& reply, Message message,
                            Caller caller) {
    auto const& peer = session->peer;
    auto const key = id_key(message.id);
    if (peer->in_flight.contains(key)) {
        co_await refuse(reply, http::Status::bad_request, message.id, code::invalid_request,
                        "This id is in flight");
        co_return;
    }
    if (peer->in_flight.size() >= endpoint_->options.max_in_flight_per_connection) {
        co_await refuse(reply, http::Status::too_many_requests, message.id, code::internal_error,
                        "Too many calls are running in this session");
        co_return;
    }
    auto const stream = session->open_stream(endpoint_->executor);
    stream->attached = true;  // before the call says anything
    auto const active =
        std::make_shared<ActiveCall>(legacy_origin(message, *peer, std::move(caller)), stream);
    active->id = message.id;
    active->asker = std::make_shared<LegacyAsker>(peer, stream);
    active->on_close_stream = [stream](base::milliseconds retry) { stream->close_reply(retry); };
    auto const running = std::make_shared<Running>();
    peer->in_flight[key] = running;
    endpoint_->spawn(running, run_call(endpoint_, session, stream, active, running, std::move(message)));
    // A client that goes away does not cancel: it may come back for the rest.
    Delivery delivery{stream, reply, {}, endpoint_->options.keep_alive};
    co_await delivery.run();
    if (stream->ended && !session->log->has(stream->id)) session->streams.erase(stream->id);
}

Task<void> LegacyHttp::get(http::Request request, http::Reply& reply) {
    if (!accepts(request.field("Accept"), "text/event-stream")) {
        co_await refuse(reply, http::Status::not_acceptable, nullptr, code::invalid_request,
                        "Accept must name text/event-stream");
        co_return;
    }
    auto const session = co_await session_of(request, reply, nullptr);
    if (!session) co_return;
    auto stream = session->unsolicited;
    std::uint64_t number = 0;
    if (auto const last = request.field("Last-Event-ID"); !last.empty()) {
        std::uint64_t which = 0;
        bool known = parse_event_id(last, which, number);
        if (known && which != stream->id) {
            auto const it = session->streams.find(which);
            known = it != session->streams.end();
            if (known) stream = it->second;
        }
        if (!known) {
            co_await refuse(reply, http::Status::bad_request, nullptr, code::invalid_request,
                            "Unknown Last-Event-ID");
            co_return;
        }
        stream->resume(session->log->after(stream->id, number));
    } else {
        stream->resume({});
    }
    // Begun at once: the client sees that it listens.
    Delivery delivery{stream, reply, {}, endpoint_->options.keep_alive};
    co_await delivery.run(true);
    session->used = base::Clock::now();
}

Task<void> LegacyHttp::remove(http::Request request, http::Reply& reply) {
    auto const session = co_await session_of(request, reply, nullptr);
    if (!session) co_return;
    sessions_.remove(*session);
    http::Fields fields;
    co_await reply.send(http::Status::ok, std::move(fields), {});
}

}  // namespace mcp
