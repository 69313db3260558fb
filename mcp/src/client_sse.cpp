#include "client_http.hpp"
#include "event_stream.hpp"
#include <base/timeout.hpp>

namespace mcp {
namespace {

constexpr std::size_t kMaxReplyBytes = 64 * 1024;
constexpr base::milliseconds kPostLimit{30'000};

class SseLink final : public Link {
  public:
    SseLink(ClientCore& core, std::shared_ptr<HttpAccess> access)
        : core_(core), access_(std::move(access)), ready_(core.executor) {
        ready_.expires_at(base::Clock::time_point::max());
    }

    base::Status start() override {
        core_.spawn(hear_all(core_.shared_from_this(), *this));
        return {};
    }
    base::Status send(std::shared_ptr<Pending> request, Outgoing out) override {
        request->exchange = core_.spawn(post(core_.shared_from_this(), *this, request, std::move(out)));
        return {};
    }
    Task<void> say(Outgoing out) override {
        auto saying = post(core_.shared_from_this(), *this, nullptr, std::move(out));
        co_await std::move(saying);
    }
    void abandon(Pending& request, std::string why) override {
        if (request.exchange) request.exchange->cancel();
        if (request.method == "initialize") return;
        Outgoing out;
        out.text = notification_text("notifications/cancelled",
                                     Json{{"requestId", request.id}, {"reason", std::move(why)}});
        core_.say(std::move(out));
    }
    void stop() override { ready_.cancel(); }
    Task<void> close() override { co_return; }
    bool http() const override { return true; }

  private:
    static Task<void> post(std::shared_ptr<ClientCore> core, SseLink& self, std::shared_ptr<Pending> request,
                           Outgoing out) {
        while (!self.endpoint_ && !core->over) co_await self.ready_.async_wait(base::as_tuple);
        if (core->over) co_return;
        HttpAccess::Fields fields;
        fields.emplace_back("Content-Type", "application/json");
        if (!core->facts.version.empty()) fields.emplace_back("MCP-Protocol-Version", core->facts.version);
        bool sent = false;
        auto sending = self.access_->send(boost::beast::http::verb::post, *self.endpoint_, std::move(fields),
                                          std::move(out.text), kPostLimit, &sent);
        auto answer = co_await std::move(sending);
        if (!request) co_return;
        request->sent = sent;
        if (!answer) {
            request->fail(std::move(answer.error()));
        } else if ((*answer)->status >= 300) {
            request->fail(failure(base::errc::unavailable, self.access_->url().origin() + " answered HTTP " +
                                                               std::to_string((*answer)->status)));
        } else {
            auto rest = (*answer)->all(kMaxReplyBytes, kPostLimit);
            co_await std::move(rest);
        }
    }

    static Task<void> hear_all(std::shared_ptr<ClientCore> core, SseLink& self) {
        auto hearing = self.hear(*core);
        auto const why = co_await std::move(hearing);
        core->fail(why);
    }

    Task<std::string> hear(ClientCore& core) {
        HttpAccess::Fields fields;
        fields.emplace_back("Accept", "text/event-stream");
        auto sending = access_->send(boost::beast::http::verb::get, access_->url(), std::move(fields),
                                     std::string(), core.options.open_limit, nullptr);
        auto answer = co_await std::move(sending);
        if (!answer) co_return answer.error().error.message();
        if ((*answer)->status != 200 || media_type((*answer)->field("Content-Type")) != "text/event-stream")
            co_return access_->url().origin() + " offers neither Streamable HTTP nor HTTP+SSE (HTTP " +
                std::to_string((*answer)->status) + ')';
        EventParser parser(core.options.max_message_bytes);
        for (;;) {
            auto receiving = (*answer)->receive(core.options.request_hard_limit);
            auto const piece = co_await std::move(receiving);
            if (!piece) co_return piece.error().message();
            if (piece->empty()) co_return "the server ended its event stream";
            auto const events = parser.feed(*piece);
            if (!events) co_return "the server's event stream: " + events.error().context;
            for (auto const& event : *events) {
                if (!event.data) continue;
                if (event.type == "endpoint") {
                    if (auto const wrong = take_endpoint(*event.data); !wrong.empty()) co_return wrong;
                } else if (event.type == "message" && !event.data->empty()) {
                    if (auto const taken = core.receive(*event.data, nullptr); !taken)
                        co_return taken.error().context;
                    if (core.over) co_return core.reason;
                }
            }
        }
    }

    /// It gets our credentials, so it has to be at the origin that they are for.
    std::string take_endpoint(std::string const& reference) {
        auto url = access_->url().resolve(reference);
        if (!url) return "the server named an endpoint that is " + url.error().context;
        if (!url->same_origin(access_->url()))
            return "the server named an endpoint of another origin, " + url->origin();
        if (endpoint_) return "the server named a second endpoint";
        endpoint_ = std::move(*url);
        ready_.cancel();
        return {};
    }

    ClientCore& core_;  // owns us
    std::shared_ptr<HttpAccess> access_;
    std::optional<http::Url> endpoint_;
    asio::steady_timer ready_;
};

}  // namespace

std::unique_ptr<Link> sse_link(ClientCore& core, std::shared_ptr<HttpAccess> access) {
    return std::make_unique<SseLink>(core, std::move(access));
}

}  // namespace mcp
