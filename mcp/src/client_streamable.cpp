#include "client_headers.hpp"
#include "client_http.hpp"
#include "event_stream.hpp"
#include <base/timeout.hpp>

#include <algorithm>

namespace mcp {
namespace {

using Answered = std::unique_ptr<http::OriginAnswer>;

constexpr std::size_t kMaxErrorBytes = 64 * 1024;
constexpr base::milliseconds kErrorLimit{10'000}, kSayLimit{30'000}, kByeLimit{5'000}, kAfterAnswer{200};
constexpr base::milliseconds kFirstRetry{1'000}, kMaxRetry{60'000};
constexpr int kMaxResumptions = 8;  // in a row, without an event

class StreamableLink final : public Link {
  public:
    StreamableLink(ClientCore& core, std::shared_ptr<HttpAccess> access,
                   std::function<Task<Outcome<bool>>()> renew)
        : core_(core), access_(std::move(access)), renew_(std::move(renew)), renewed_(core.executor) {
        renewed_.expires_at(base::Clock::time_point::max());
    }

    base::Status start() override { return {}; }
    base::Status send(std::shared_ptr<Pending> request, Outgoing out) override {
        request->exchange = core_.spawn(exchange(core_.shared_from_this(), *this, request, std::move(out)));
        return {};
    }
    Task<void> say(Outgoing out) override {
        if (core_.modern()) co_return;  // which has nothing to say but requests
        auto fields = fields_for(out, true);
        auto sending = access_->send(boost::beast::http::verb::post, access_->url(), std::move(fields),
                                     std::move(out.text), kSayLimit, nullptr);
        auto answer = co_await std::move(sending);
        if (!answer) co_return;
        auto rest = (*answer)->all(kMaxErrorBytes, kErrorLimit);
        co_await std::move(rest);
    }
    void abandon(Pending& request, std::string why) override {
        if (request.exchange) request.exchange->cancel();  // modern: the closed stream is the cancellation
        if (core_.modern() || request.method == "initialize") return;
        Outgoing out;
        out.method = "notifications/cancelled";
        out.text = notification_text(out.method, Json{{"requestId", request.id}, {"reason", std::move(why)}});
        core_.say(std::move(out));
    }
    void opened() override {
        if (core_.modern() || !core_.options.listen) return;
        if (hearing_) hearing_->cancel();
        hearing_ = core_.spawn(hear(core_.shared_from_this(), *this));
    }
    void stop() override { renewed_.cancel(); }
    Task<void> close() override {
        if (hearing_) hearing_->cancel();
        if (core_.modern() || session_.empty()) co_return;
        auto fields = fields_for(Outgoing(), false);
        auto sending = access_->send(boost::beast::http::verb::delete_, access_->url(), std::move(fields),
                                     std::string(), kByeLimit, nullptr);
        auto bye = base::with_timeout(ignoring(std::move(sending)), kByeLimit, "end the session");
        co_await std::move(bye);
        session_.clear();
    }
    bool http() const override { return true; }

  private:
    static Task<base::Result<bool>> ignoring(Task<Outcome<Answered>> sending) {
        co_await std::move(sending);
        co_return true;
    }

    HttpAccess::Fields fields_for(Outgoing const& out, bool post) const {
        HttpAccess::Fields fields;
        fields.emplace_back("Accept", post ? "application/json, text/event-stream" : "text/event-stream");
        if (post) fields.emplace_back("Content-Type", "application/json");
        if (!core_.facts.version.empty()) fields.emplace_back("MCP-Protocol-Version", core_.facts.version);
        if (!session_.empty()) fields.emplace_back("MCP-Session-Id", session_);
        if (core_.modern() && !out.method.empty()) {
            fields.emplace_back("Mcp-Method", out.method);
            if (out.has_name) fields.emplace_back("Mcp-Name", field_value(out.name));
            for (auto const& param : out.params) fields.push_back(param);
        }
        return fields;
    }

    /// A request from its POST to its answer. Whatever ends it, somebody told the one who waits.
    static Task<void> exchange(std::shared_ptr<ClientCore> core, StreamableLink& self,
                               std::shared_ptr<Pending> request, Outgoing out) {
        struct Told {
            ~Told() {
                request.fail(failure(base::errc::unavailable, "the request was interrupted", request.sent));
            }
            Pending& request;
        } const told{*request};
        for (bool renewed = false;;) {
            auto const generation = self.generation_;
            bool const in_session = !self.session_.empty();
            auto fields = self.fields_for(out, true);
            auto sending =
                self.access_->send(boost::beast::http::verb::post, self.access_->url(), std::move(fields),
                                   out.text, core->options.request_hard_limit, &request->sent);
            auto answer = co_await std::move(sending);
            if (!answer) {
                request->fail(std::move(answer.error()));
                co_return;
            }
            if (request->method == "initialize" || request->method == "server/discover")
                core->opening_status = static_cast<int>((*answer)->status);
            bool const may_renew = in_session && !core->modern() && request->method != "initialize";
            bool ended = (*answer)->status == 404 && may_renew;
            if (!ended && may_renew) {
                auto taking = self.take(*core, *request, std::move(*answer), !renewed);
                ended = co_await std::move(taking);
                if (!ended) co_return;
            }
            if (ended) {
                // The session ended, so the request was not looked at: it may be made once in a new one.
                answer->reset();
                request->sent = false;
                if (renewed) {
                    request->fail(
                        failure(base::errc::unavailable, "the server ended the session again and again"));
                    co_return;
                }
                renewed = true;
                auto renewing = self.renew(core, generation);
                auto again = co_await std::move(renewing);
                if (!again) {
                    auto why = again.error();
                    why.may_have_run = false;
                    request->fail(std::move(why));
                    co_return;
                }
                continue;
            }
            if (request->method == "initialize" && (*answer)->status < 300 && !self.take_session(**answer)) {
                request->fail(
                    failure(base::errc::invalid, "the server sent a session id that is not visible ASCII"));
                co_return;
            }
            auto taking = self.take(*core, *request, std::move(*answer), false);
            co_await std::move(taking);
            co_return;
        }
    }

    /// Servers on the examples of the official SDK answer 400 where the protocol has 404.
    static bool knows_no_session(unsigned status, Message const& message) {
        if (status != 400 || !message.error || message.error->code != -32000) return false;
        auto text = message.error->message;
        for (auto& c : text)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return text.find("session") != text.npos;
    }

    bool take_session(http::OriginAnswer const& answer) {
        auto const id = answer.field("MCP-Session-Id");
        if (id.size() > 1024 ||
            !std::all_of(id.begin(), id.end(), [](char c) { return c >= 0x21 && c <= 0x7e; }))
            return false;
        session_ = id;
        return true;
    }

    /// One new session however many requests met the end of the old one.
    Task<Outcome<bool>> renew(std::shared_ptr<ClientCore> core, unsigned generation) {
        while (renewing_) co_await renewed_.async_wait(base::as_tuple);
        if (core->over) co_return failure(base::errc::unavailable, core->reason);
        if (generation != generation_) co_return true;
        renewing_ = true;
        struct Done {
            ~Done() {
                self.renewing_ = false;
                self.renewed_.cancel();
            }
            StreamableLink& self;
        } const done{*this};
        session_.clear();
        if (hearing_) hearing_->cancel();
        auto opening = renew_();
        auto opened = co_await std::move(opening);
        ++generation_;
        co_return opened;
    }

    /// True when it says that the session ended, which nobody else is told; false otherwise, and when not `renewable`.
    Task<bool> take(ClientCore& core, Pending& request, Answered answer, bool renewable) {
        auto const status = answer->status;
        auto const type = media_type(answer->field("Content-Type"));
        if (status == 200 && type == "text/event-stream") {
            auto reading = read_stream(core, request, std::move(answer));
            co_await std::move(reading);
            co_return false;
        }
        bool const json = type == "application/json";
        auto reading = answer->all(status < 300 ? core.options.max_message_bytes : kMaxErrorBytes,
                                   status < 300 ? core.options.request_hard_limit : kErrorLimit);
        auto const body = co_await std::move(reading);
        auto const fail = [&](base::errc kind, std::string why) {
            request.fail(failure(kind, access_->url().origin() + ' ' + std::move(why), true));
        };
        if (!body && status < 300) {
            request.fail(Failure{body.error(), std::nullopt, true});
        } else if (status >= 300) {
            // Errors that say why, in JSON-RPC, are the server's own answer.
            auto parsed =
                parse_message(body && json ? std::string_view(*body) : std::string_view(), core.limits());
            auto* message = std::get_if<Message>(&parsed);
            bool const ours = message && message->kind == Message::Kind::response && message->error &&
                              (message->id.is_null() || message->id == request.id);
            if (!ours) {
                fail(base::errc::unavailable, "answered HTTP " + std::to_string(status));
                co_return false;
            }
            if (renewable && knows_no_session(status, *message)) co_return true;
            message->id = request.id;
            request.answer = std::move(*message);
            request.wake.notify();
        } else if (status != 200 || body->empty()) {
            fail(base::errc::invalid,
                 "took the request but did not answer it (HTTP " + std::to_string(status) + ')');
        } else if (!json) {
            fail(base::errc::invalid,
                 "answered with " + excerpt(type) + " where JSON or an event stream belongs");
        } else if (auto const taken = core.receive(*body, &request); !taken) {
            request.fail(Failure{taken.error(), std::nullopt, true});
        } else if (!request.over()) {
            fail(base::errc::invalid, "answered with a message that is no answer");
        }
        co_return false;
    }

    struct Position {
        std::string last_id;
        base::milliseconds retry = kFirstRetry;
        bool heard = false;  ///< an event came on this connection
    };

    /// Reads events until the stream ends, or `request` (when it is one's stream) has its answer. An error:
    /// what was wrong.
    static Task<base::Result<bool>> read_events(ClientCore& core, Pending* request,
                                                http::OriginAnswer& answer, Position& position) {
        EventParser parser(core.options.max_message_bytes);
        for (;;) {
            auto receiving = answer.receive(core.options.request_hard_limit);
            auto const piece = co_await std::move(receiving);
            if (!piece || piece->empty()) co_return true;
            auto const events = parser.feed(*piece);
            if (!events) co_return base::wrap(events.error(), "the server's event stream");
            for (auto const& event : *events) {
                position.heard = true;
                if (event.id) position.last_id = *event.id;
                if (event.retry) position.retry = std::min(*event.retry, kMaxRetry);
                if (!event.data || event.data->empty() || event.type != "message") continue;
                if (auto const taken = core.receive(*event.data, request); !taken) co_return taken.error();
                if (request && request->over()) co_return true;
                if (core.over) co_return true;
            }
        }
    }

    /// 2025-11-25: the server may close a stream and have the rest fetched.
    Task<void> read_stream(ClientCore& core, Pending& request, Answered answer) {
        Position position;
        for (int attempts = 0;; ++attempts) {
            if (answer) {
                position.heard = false;
                auto reading = read_events(core, &request, *answer, position);
                auto const read = co_await std::move(reading);
                if (!read) request.fail(Failure{read.error(), std::nullopt, true});
                if (request.over()) {
                    // The stream should end with the answer; then its connection serves on.
                    auto rest = answer->receive(kAfterAnswer);
                    co_await std::move(rest);
                    co_return;
                }
                if (position.heard) attempts = 0;
                answer.reset();
            }
            if (core.modern() || position.last_id.empty() || attempts >= kMaxResumptions) {
                request.fail(
                    failure(base::errc::unavailable, "the server closed the stream without an answer", true));
                co_return;
            }
            co_await base::sleep_for(position.retry);
            auto fields = fields_for(Outgoing(), false);
            fields.emplace_back("Last-Event-ID", position.last_id);
            auto sending = access_->send(boost::beast::http::verb::get, access_->url(), std::move(fields),
                                         std::string(), core.options.request_limit, nullptr);
            auto again = co_await std::move(sending);
            if (!again) continue;
            if ((*again)->status != 200 ||
                media_type((*again)->field("Content-Type")) != "text/event-stream") {
                request.fail(failure(base::errc::unavailable,
                                     "the server closed the stream and did not resume it (HTTP " +
                                         std::to_string((*again)->status) + ')',
                                     true));
                co_return;
            }
            answer = std::move(*again);
        }
    }

    /// The GET stream of a legacy session: what the server says unasked.
    static Task<void> hear(std::shared_ptr<ClientCore> core, StreamableLink& self) {
        Position position;
        auto pause = kFirstRetry;
        for (;;) {
            auto fields = self.fields_for(Outgoing(), false);
            if (!position.last_id.empty()) fields.emplace_back("Last-Event-ID", position.last_id);
            auto sending =
                self.access_->send(boost::beast::http::verb::get, self.access_->url(), std::move(fields),
                                   std::string(), core->options.request_limit, nullptr);
            auto answer = co_await std::move(sending);
            if (answer) {
                // 405 and the like: there is none. 404: the session ended, which the next request will find.
                if ((*answer)->status >= 400 && (*answer)->status < 500) co_return;
                if ((*answer)->status == 200 &&
                    media_type((*answer)->field("Content-Type")) == "text/event-stream") {
                    position.heard = false;
                    auto reading = read_events(*core, nullptr, **answer, position);
                    auto const read = co_await std::move(reading);
                    if (!read) co_return core->fail(read.error().context);
                    if (position.heard) pause = position.retry;
                }
                answer->reset();
            } else if (base::is(answer.error().error, base::errc::denied)) {
                co_return;
            }
            co_await base::sleep_for(pause);
            pause = std::min(kMaxRetry, std::max(pause * 2, kFirstRetry));
        }
    }

    ClientCore& core_;  // owns us
    std::shared_ptr<HttpAccess> access_;
    std::function<Task<Outcome<bool>>()> renew_;
    std::string session_;
    unsigned generation_ = 0;
    bool renewing_ = false;
    asio::steady_timer renewed_;
    std::shared_ptr<Running> hearing_;
};

}  // namespace

std::unique_ptr<Link> streamable_link(ClientCore& core, std::shared_ptr<HttpAccess> access,
                                      std::function<Task<Outcome<bool>>()> renew) {
    return std::make_unique<StreamableLink>(core, std::move(access), std::move(renew));
}

}  // namespace mcp
