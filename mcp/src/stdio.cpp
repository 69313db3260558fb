#include "stdio.hpp"

#include "legacy_codec.hpp"
#include "line_io.hpp"
#include "modern_codec.hpp"
#include <base/timeout.hpp>

#include <csignal>

namespace mcp {
namespace {

constexpr base::milliseconds kEndLimit{
    2'000};  // for handlers to see their cancellation, then for the last bytes out
constexpr int kLastTurns = 64;

class Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(std::shared_ptr<Endpoint> endpoint, int in, int out, Caller caller)
        : endpoint_(std::move(endpoint)),
          caller_(std::move(caller)),
          reader_(endpoint_->executor, in, endpoint_->options.max_message_bytes),
          writer_(std::make_shared<LineWriter>(endpoint_->executor, out)),
          room_(endpoint_->executor) {}

    Task<void> run() {
        writer_->start();
        auto const self = shared_from_this();
        co_await asio::this_coro::throw_if_cancelled(false);
        for (bool open = true; open;) {
            co_await writer_->caught_up();
            auto line = co_await reader_.next();
            bool const gone = co_await cancelled();
            if (gone || line.kind == LineReader::Kind::end) break;
            if (line.kind == LineReader::Kind::too_long) {
                refuse({RpcError{code::invalid_request, "Invalid request: the line is too long", nullptr},
                        nullptr});
                continue;
            }
            if (line.text.find_first_not_of(" \t\r") == std::string::npos) continue;
            base::JsonLimits limits;
            limits.max_bytes = endpoint_->options.max_message_bytes;
            limits.max_depth = endpoint_->options.max_depth;
            auto parsed = parse_message(line.text, limits);
            if (auto* bad = std::get_if<BadMessage>(&parsed)) {
                refuse(*bad);
                continue;
            }
            auto& message = std::get<Message>(parsed);
            if (message.kind != Message::Kind::request) {
                take(std::move(message));
                continue;
            }
            // The limit holds requests back, not their cancellations and answers, as long as few are waiting.
            if (in_flight_.size() < endpoint_->options.max_in_flight_per_connection) {
                start(std::move(message));
            } else {
                waiting_.push_back(std::move(message));
                while (open && waiting_.size() >= endpoint_->options.max_in_flight_per_connection) {
                    co_await room_.wait(std::chrono::hours(1));
                    open = !co_await cancelled();
                }
            }
        }
        co_await end();
    }

  private:
    Task<void> end() {
        co_await asio::this_coro::reset_cancellation_state();
        // What needs no more waiting gets its answer out: `echo request | server` works.
        for (int i = 0; i < kLastTurns && !in_flight_.empty(); ++i)
            co_await asio::post(endpoint_->executor, asio::use_awaitable);
        waiting_.clear();
        auto const all = in_flight_;
        for (auto const& [id, running] : all) running->cancel();
        auto const limit = base::Clock::now() + kEndLimit;
        while (!in_flight_.empty() && base::Clock::now() < limit) co_await room_.wait(kEndLimit);
        if (peer_) peer_->in_flight.clear();
        co_await writer_->finish(kEndLimit);
    }

    void refuse(BadMessage const& bad) { writer_->deliver(error_text(bad.id, bad.error)); }
    void refuse(Json const& id, int code, std::string message) {
        writer_->deliver(error_text(id, RpcError{code, std::move(message), nullptr}));
    }

    void take(Message message) {
        if (message.kind == Message::Kind::notification && message.method == "notifications/cancelled") {
            auto const id = message.params.find("requestId");
            if (id == message.params.end()) return;
            std::erase_if(waiting_, [&](Message const& m) { return m.id == *id; });
            if (auto const it = in_flight_.find(id_key(*id)); it != in_flight_.end()) it->second->cancel();
            return;
        }
        if (peer_ && !has_claim(message)) take_legacy(std::move(message), *peer_, *endpoint_, caller_);
    }

    void start(Message message) {
        auto const key = id_key(message.id);
        if (in_flight_.contains(key))
            return refuse(message.id, code::invalid_request, "Invalid request: this id is in flight");
        if (endpoint_->stopping) return refuse(message.id, code::internal_error, "The server is stopping");
        bool const modern = has_claim(message);
        if (modern || is_modern_only(message.method)) return start_modern(std::move(message), key);
        if (message.method == "initialize") return open_session(message);
        if (!peer_) {
            if (message.method == "ping") return writer_->deliver(result_text(message.id, Json::object()));
            return refuse(
                message.id, code::invalid_request,
                "Invalid request: send initialize first, or name the protocol version in \"_meta\"");
        }
        auto call = std::make_shared<ActiveCall>(legacy_origin(message, *peer_, caller_), writer_);
        call->id = message.id;
        call->asker = std::make_shared<LegacyAsker>(peer_, writer_);
        auto id = message.id;
        launch(key, answer(shared_from_this(), call, std::move(id),
                           answer_legacy(endpoint_, call, peer_, std::move(message))));
    }

    void start_modern(Message message, std::string const& key) {
        Origin origin;
        try {
            auto claims = read_claims(message);
            if (claims.version != kModernVersion) throw RpcException(version_unsupported(claims.version));
            origin = Origin{caller_, true, std::move(claims.capabilities), std::move(claims.progress_token),
                            claims.log_level, std::move(claims.meta)};
        } catch (RpcException const& e) {
            return writer_->deliver(error_text(message.id, e.error));
        }
        auto call = std::make_shared<ActiveCall>(std::move(origin), writer_);
        call->id = message.id;
        auto id = message.id;
        bool const listens = message.method == "subscriptions/listen";
        launch(key,
               answer(shared_from_this(), call, std::move(id),
                      answer_modern(endpoint_, call, std::move(message)), listens),
               listens);
    }

    void open_session(Message const& message) {
        if (peer_) return refuse(message.id, code::invalid_request, "Invalid request: already initialized");
        auto peer = std::make_shared<LegacyPeer>(endpoint_->executor, endpoint_->listeners, writer_,
                                                 endpoint_->options.question_limit);
        try {
            writer_->deliver(result_text(message.id, initialize(message.params, *peer, *endpoint_)));
            peer_ = std::move(peer);
        } catch (RpcException const& e) {
            writer_->deliver(error_text(message.id, e.error));
        }
    }

    void launch(std::string const& key, Task<void> work, bool listens = false) {
        auto const running = std::make_shared<Running>();
        in_flight_[key] = running;
        endpoint_->spawn(running, std::move(work), listens);
    }

    static Task<void> answer(std::shared_ptr<Connection> self, std::shared_ptr<ActiveCall> call, Json id,
                             Task<Answer> work, bool listens = false) {
        std::string text;
        try {
            auto const got = co_await std::move(work);
            text = got.text(id);
        } catch (...) {  // nothing but cancellation gets here
        }
        call->end();
        auto const it = self->in_flight_.find(id_key(id));
        bool const dropped = it == self->in_flight_.end() || it->second->cancelled;
        if (it != self->in_flight_.end()) self->in_flight_.erase(it);
        if (!dropped && !text.empty()) {
            // A listen that we end: basic/patterns/cancellation wants the notification,
            // patterns/subscriptions the result.
            if (listens && self->endpoint_->stopping)
                self->writer_->deliver(notification_text("notifications/cancelled", Json{{"requestId", id}}));
            self->writer_->deliver(std::move(text));
        }
        self->room_.notify();
        if (!self->waiting_.empty()) {
            auto next = std::move(self->waiting_.front());
            self->waiting_.pop_front();
            self->start(std::move(next));
        }
    }

    std::shared_ptr<Endpoint> endpoint_;
    Caller caller_;
    LineReader reader_;
    std::shared_ptr<LineWriter> writer_;
    std::shared_ptr<LegacyPeer> peer_;
    std::map<std::string, std::shared_ptr<Running>> in_flight_;
    std::deque<Message> waiting_;
    Wake room_;
};

}  // namespace

Task<void> serve_stdio(std::shared_ptr<Endpoint> endpoint, int in, int out, Caller caller) {
    // A client that closed its end must cost a write error, not the process.
    struct sigaction action {};
    if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL)
        std::signal(SIGPIPE, SIG_IGN);
    auto const connection = std::make_shared<Connection>(std::move(endpoint), in, out, std::move(caller));
    co_await connection->run();
}

}  // namespace mcp
