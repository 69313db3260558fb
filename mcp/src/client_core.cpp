#include "client_core.hpp"

#include "call.hpp"
#include "client_headers.hpp"
#include "question.hpp"
#include <base/timeout.hpp>

namespace mcp {
namespace {

constexpr std::size_t kMaxAbandoned = 4096;
constexpr char kModern[] = "2026-07-28";

// The keys of _meta that the protocol itself owns (2026-07-28, basic/index). A caller's are not passed on.
constexpr char const* kOwnMeta[] = {
    "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",      "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",  "progressToken"};

base::Error broken(std::string what) {
    return base::error(base::errc::invalid, "the server " + std::move(what));
}

std::optional<double> number(Json const& object, char const* name) {
    auto const it = object.find(name);
    if (it == object.end() || !it->is_number()) return std::nullopt;
    return it->get<double>();
}

std::string text(Json const& object, char const* name) {
    auto const it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

std::string excerpt(std::string_view raw) {
    auto out = base::to_utf8(raw.substr(0, 80));
    for (auto& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    return '"' + out + (raw.size() > 80 ? "...\"" : "\"");
}

ClientCore::ClientCore(asio::io_context& io, ClientOptions o, ClientEvents& e)
    : executor(io.get_executor()),
      options(std::move(o)),
      events(&e),
      allowance_(10.0 * options.max_unsolicited_per_second) {}

base::Status ClientCore::receive(std::string_view raw, Pending* stream) {
    auto parsed = parse_message(raw, limits());
    if (auto const* bad = std::get_if<BadMessage>(&parsed)) {
        std::string_view why = bad->error.message;
        if (auto const colon = why.find(": "); colon != why.npos) why.remove_prefix(colon + 2);
        return broken("wrote something that is no message (" + std::string(why) + "): " + excerpt(raw));
    }
    auto& message = std::get<Message>(parsed);
    if (message.kind == Message::Kind::response) return take_answer(std::move(message), stream);
    if (auto const rate = within_rate(raw.size()); !rate) return rate;
    if (message.kind == Message::Kind::request) return take_request(std::move(message), stream);
    take_notice(std::move(message), stream);
    return {};
}

base::Status ClientCore::take_answer(Message message, Pending* stream) {
    Pending* asked = nullptr;
    if (message.id.is_null()) {
        // An error whose request the server could not read. It is told apart only when one is open.
        asked = stream ? stream : pending.size() == 1 ? pending.begin()->second.get() : nullptr;
        if (!asked) return broken("sent an error without an id: " + excerpt(message.error->message));
    } else {
        auto const shown = excerpt(base::dump(message.id));
        if (!message.id.is_number_unsigned() || message.id.get<std::uint64_t>() >= next_id_ ||
            message.id == 0)
            return broken("answered a request that was never made, id " + shown);
        auto const id = message.id.get<std::uint64_t>();
        auto const it = pending.find(id);
        if (it == pending.end()) {
            if (abandoned_.erase(id) > 0 || id < forgotten_below_)
                return {};  // too late: a race that happens
            return broken("answered a request twice, id " + shown);
        }
        asked = it->second.get();
        if (stream && stream != asked)
            return broken("answered another request on this one's stream, id " + shown);
        if (asked->answer) return broken("answered a request twice, id " + shown);
    }
    if (asked->over()) return {};
    asked->answer = std::move(message);
    asked->wake.notify();
    return {};
}

base::Status ClientCore::within_rate(std::size_t bytes) {
    auto const now = base::Clock::now();
    double const rate = options.max_unsolicited_per_second;
    allowance_ =
        std::min(10 * rate, allowance_ + rate * std::chrono::duration<double>(now - counted_).count());
    counted_ = now;
    double const cost = 1 + static_cast<double>(bytes) / 4096;  // a large one is work as many are
    if (allowance_ < cost)
        return base::error(base::errc::limit, "the server floods: more than " +
                                                  std::to_string(options.max_unsolicited_per_second) +
                                                  " notifications and requests a second");
    allowance_ -= cost;
    return {};
}

base::Status ClientCore::take_request(Message message, Pending* stream) {
    if (modern())
        return broken("sent a request, " + excerpt(message.method) + ", which " + kModern + " does not have");
    auto const key = id_key(message.id);
    if (questions_.contains(key)) return broken("asked twice with the same id " + excerpt(key));
    Outgoing out;
    if (message.method == "ping") {
        out.text = result_text(message.id, Json::object());
        say(std::move(out));
        return {};
    }
    bool const known = message.method == "elicitation/create" || message.method == "sampling/createMessage" ||
                       message.method == "roots/list";
    if (!known || questions_.size() >= options.max_questions) {
        RpcError const refusal{known ? code::internal_error : code::method_not_found,
                               known ? "Too many questions are open" : "Method not found", nullptr};
        out.text = error_text(message.id, refusal);
        say(std::move(out));
        return {};
    }
    auto owner = owner_of_question(stream);
    auto const serial = ++last_question_;
    questions_[key] = {serial, spawn(run_question(std::move(message), std::move(owner), serial))};
    return {};
}

std::shared_ptr<Pending> ClientCore::owner_of_question(Pending* stream) const {
    if (stream) {
        auto const it = pending.find(stream->id);
        return it == pending.end() ? nullptr : it->second;
    }
    // Lines do not say whose it is; with one call that can be asked about there is no doubt.
    std::shared_ptr<Pending> only;
    for (auto const& [id, request] : pending) {
        if (request->method != "tools/call" && request->method != "prompts/get" &&
            request->method != "resources/read" && request->method != "tasks/get" &&
            request->method != "tasks/result")
            continue;
        if (only && only->options != request->options) return nullptr;
        only = request;
    }
    return only;
}

Task<void> ClientCore::run_question(Message message, std::shared_ptr<Pending> owner, std::uint64_t serial) {
    auto const self = shared_from_this();
    auto const key = id_key(message.id);
    struct Leave {
        ~Leave() {
            if (open()) core.questions_.erase(key);
            if (!owner) return;
            --owner->asking;
            owner->sign = base::Clock::now();
            owner->wake.notify();
        }
        bool open() const {
            auto const it = core.questions_.find(key);
            return it != core.questions_.end() && it->second.serial == serial;
        }
        ClientCore& core;
        std::string const& key;
        Pending* owner;
        std::uint64_t serial;
    } const leave{*this, key, owner.get(), serial};
    if (owner) ++owner->asking;
    Outgoing out;
    try {
        Question question{key, message.method, std::move(message.params)};
        auto asking = ask_for(self, owner ? owner->options : nullptr, std::move(question));
        auto const answer = co_await std::move(asking);
        out.text = result_text(message.id, answer);
    } catch (RpcException const& refused) {
        out.text = error_text(message.id, refused.error);
    }
    if (leave.open()) say(std::move(out));  // else the server took it back
}

void ClientCore::take_log(Json const& params, Pending* stream) {
    LogMessage message;
    message.level = log_level_from(text(params, "level")).value_or(LogLevel::info);
    message.logger = text(params, "logger");
    if (auto const it = params.find("data"); it != params.end()) message.data = *it;
    auto const owner = owner_of_question(stream);
    if (owner && owner->options->on_log) {
        owner->options->on_log(std::move(message));
    } else if (events) {
        events->log(std::move(message));
    }
}

void ClientCore::take_notice(Message message, Pending* stream) {
    auto const& params = message.params;
    auto const find = [&](Json const& id) -> Pending* {
        if (!id.is_number_unsigned()) return nullptr;
        auto const it = pending.find(id.get<std::uint64_t>());
        return it == pending.end() ? nullptr : it->second.get();
    };
    if (message.method == "notifications/progress") {
        auto* const about = find(params.value("progressToken", Json(nullptr)));
        auto const at = number(params, "progress");
        if (!about || about->over() || !at || *at <= about->progress || !about->options->on_progress) return;
        about->progress = *at;
        about->sign = base::Clock::now();
        about->options->on_progress(Progress{*at, number(params, "total"), text(params, "message")});
        return;
    }
    if (message.method == "notifications/message") return take_log(params, stream);
    if (message.method == "notifications/cancelled") {
        auto const id = params.value("requestId", Json(nullptr));
        if (modern()) {
            if (auto* const listen = find(id); listen && listen->listens)
                listen->fail(failure(base::errc::unavailable, "the server ended the subscription"));
        } else if (auto node = questions_.extract(id_key(id)); node) {
            node.mapped().running->cancel();  // its id may be used again at once
        }
        return;
    }
    if (modern()) {
        // Change notices belong to a listen stream that we hold; on others they are late, or not asked for.
        auto const meta = params.value("_meta", Json::object());
        auto* const listen = find(meta.value("io.modelcontextprotocol/subscriptionId", Json(nullptr)));
        if (!listen || !listen->listens || (stream && stream != listen)) return;
        if (message.method == "notifications/subscriptions/acknowledged") {
            listen->acknowledged = params.value("notifications", Json::object());
            if (!listen->acknowledged.is_object()) listen->acknowledged = Json::object();
            listen->wake.notify();
            return;
        }
    }
    if (!events || !open) return;
    if (message.method == "notifications/tools/list_changed") return events->tools_changed();
    if (message.method == "notifications/prompts/list_changed") return events->prompts_changed();
    if (message.method == "notifications/resources/list_changed") return events->resources_changed();
    if (message.method == "notifications/resources/updated")
        return events->resource_updated(text(params, "uri"));
    if (message.method == "notifications/tasks" || message.method == "notifications/tasks/status")
        return events->task_changed(params);
    if (message.method == "notifications/elicitation/complete")
        return events->elicitation_completed(text(params, "elicitationId"));
}

void ClientCore::say(Outgoing out) {
    if (over) return;
    auto saying = [](std::shared_ptr<ClientCore> self, Outgoing message) -> Task<void> {
        auto task = self->link->say(std::move(message));
        co_await std::move(task);
    };
    spawn(saying(shared_from_this(), std::move(out)));
}

std::shared_ptr<Running> ClientCore::spawn(Task<void> work) {
    auto running = std::make_shared<Running>();
    work_.push_back(running);
    // A spawned coroutine with a slot must have been suspended before it ends (Boost 1.81).
    auto wrapped = [](Task<void> inner) -> Task<void> {
        auto const here = co_await asio::this_coro::executor;
        co_await asio::post(here, asio::use_awaitable);
        co_await std::move(inner);
    };
    // `running` holds what a cancellation from outside the I/O thread's loop has posted, which may come after
    // the end.
    auto done = [self = shared_from_this(), running](std::exception_ptr) {
        self->work_.remove(running);
        asio::post(self->executor, [running] {});
    };
    asio::co_spawn(executor, wrapped(std::move(work)),
                   asio::bind_cancellation_slot(running->signal.slot(), std::move(done)));
    return running;
}

Json ClientCore::stamped(Json params, CallOptions const& call, std::uint64_t id) const {
    if (!params.is_object()) params = Json::object();
    Json meta = Json::object();
    if (auto const it = params.find("_meta"); it != params.end() && it->is_object()) meta = std::move(*it);
    if (call.meta.is_object()) meta.update(call.meta);
    for (auto const* own : kOwnMeta) meta.erase(own);
    if (call.on_progress) meta["progressToken"] = id;
    if (modern()) {
        meta["io.modelcontextprotocol/protocolVersion"] = facts.version;
        meta["io.modelcontextprotocol/clientCapabilities"] =
            call.capabilities ? *call.capabilities : options.capabilities;
        if (options.client_info.is_object()) meta["io.modelcontextprotocol/clientInfo"] = options.client_info;
        auto const level = call.log_level ? call.log_level : log_level;
        if (level) meta["io.modelcontextprotocol/logLevel"] = to_string(*level);
    }
    if (meta.empty()) {
        params.erase("_meta");
    } else {
        params["_meta"] = std::move(meta);
    }
    return params;
}

Outgoing ClientCore::outgoing(std::uint64_t id, std::string const& method, Json params) const {
    Outgoing out;
    out.id = id;
    out.method = method;
    if (modern() && link->http()) {
        if (auto const* member = name_member(method)) {
            out.name = text(params, member);
            out.has_name = true;
        }
        if (method == "tools/call") {
            if (auto const known = header_params.find(out.name); known != header_params.end())
                out.params = header_values(known->second, params.value("arguments", Json::object()));
        }
    }
    out.text = request_text(id, method, params);
    return out;
}

Outcome<std::shared_ptr<Pending>> ClientCore::begin(std::string const& method, Json params,
                                                    std::shared_ptr<CallOptions const> call, bool listens) {
    if (over || closing)
        return failure(base::errc::unavailable, reason.empty() ? "the connection is closed" : reason);
    if (pending.size() >= options.max_in_flight)
        return failure(base::errc::busy, "the server has " + std::to_string(pending.size()) +
                                             " requests in flight, as many as allowed; try again later");
    auto const id = next_id_++;
    auto request = std::make_shared<Pending>(executor, id, std::move(call));
    request->method = method;
    request->listens = listens;
    auto out = outgoing(id, method, stamped(std::move(params), *request->options, id));
    if (out.text.size() > options.max_message_bytes)
        return failure(base::errc::limit,
                       "the request is larger than " + std::to_string(options.max_message_bytes) + " bytes");
    pending.emplace(id, request);
    if (auto const sent = link->send(request, std::move(out)); !sent) {
        pending.erase(id);
        abandoned_.insert(id);
        return Failure{sent.error(), std::nullopt, false};
    }
    return request;
}

void ClientCore::end(Pending& request, std::string const& why) {
    if (pending.erase(request.id) == 0) return;
    if (request.answer) return;
    abandoned_.insert(request.id);
    if (abandoned_.size() > kMaxAbandoned) {
        forgotten_below_ = *abandoned_.begin() + 1;
        abandoned_.erase(abandoned_.begin());
    }
    if (!over && !why.empty()) link->abandon(request, why);
}

Task<Outcome<Json>> ClientCore::roundtrip(std::string method, Json params,
                                          std::shared_ptr<CallOptions const> call) {
    auto const self = shared_from_this();
    auto begun = begin(method, std::move(params), call, false);
    if (!begun) co_return begun.error();
    auto const request = std::move(*begun);
    auto const limit = call->limit.count() > 0 ? call->limit : options.request_limit;
    auto const hard = base::Clock::now() + options.request_hard_limit;
    std::string why;
    bool const throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    while (!request->over() && why.empty()) {
        auto const end = request->asking > 0 ? hard : std::min(request->sign + limit, hard);
        auto const left = std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now());
        if (left.count() < 0) {
            why = "no answer to " + method + " within " + std::to_string(limit.count()) + " ms";
            request->fail(failure(base::errc::timed_out, why, true));
            break;
        }
        co_await request->wake.wait(left + base::milliseconds(1));
        bool const gone = co_await cancelled();
        if (gone && !request->over()) {
            why = "cancelled by the caller";
            request->fail(failure(base::errc::cancelled, why, true));
        }
    }
    co_await asio::this_coro::throw_if_cancelled(throws);
    end(*request, why);
    if (request->failure) co_return std::move(*request->failure);
    if (request->answer->error) {
        Failure refused;
        refused.rpc = std::move(request->answer->error);
        co_return refused;
    }
    co_return std::move(request->answer->result);
}

void ClientCore::fail_pending(std::string const& why) {
    for (auto const& [id, request] : pending)
        request->fail(failure(base::errc::unavailable, why, request->sent));
}

void ClientCore::fail(std::string why) {
    if (over) return;
    bool const tell = !closing;
    shut(std::move(why));
    if (!tell) return;
    asio::post(executor, [self = shared_from_this()] {
        if (self->events) self->events->failed(self->reason);
    });
}

void ClientCore::shut(std::string why) {
    if (std::exchange(over, true)) return;
    open = false;
    reason = std::move(why);
    end_all();
}

void ClientCore::end_all() {
    fail_pending(reason);
    link->stop();
    auto const all = work_;
    for (auto const& running : all) running->cancel();
}

Task<Json> ask_for(std::shared_ptr<ClientCore> core, std::shared_ptr<CallOptions const> call,
                   Question question) {
    auto run = [](std::shared_ptr<ClientCore> c, std::shared_ptr<CallOptions const> o,
                  Question q) -> Task<base::Result<Answer>> {
        Answer answer;
        try {
            if (o && o->on_question) {
                auto asking = o->on_question(std::move(q));
                answer.result = co_await std::move(asking);
            } else if (c->events) {
                auto asking = c->events->ask(std::move(q));
                answer.result = co_await std::move(asking);
            } else {
                answer.error = RpcError{code::internal_error, "The client is going away", nullptr};
            }
        } catch (RpcException const& refused) {
            answer.error = refused.error;
        }
        co_return answer;
    };
    auto const method = question.method;
    auto task = run(core, std::move(call), std::move(question));
    auto answered = co_await base::with_timeout(std::move(task), core->options.question_limit, method);
    if (!answered) throw rpc_exception(code::internal_error, "The question was not answered in time");
    if (answered->error) throw RpcException(std::move(*answered->error));
    check_answer(method, answered->result);
    co_return std::move(answered->result);
}

}  // namespace mcp
