#include "stream.hpp"

namespace mcp {
namespace {

constexpr std::size_t kMaxPending = 1024;  // notifications beyond it are dropped; responses are not
constexpr std::size_t kMaxPendingBytes = 8 << 20;
constexpr std::size_t kMaxLogged = 1024;

}  // namespace

void Stream::keep_in(std::shared_ptr<EventLog> log, std::uint64_t stream_id, bool with_prime) {
    log_ = std::move(log);
    id = stream_id;
    primed = with_prime;
}

bool Stream::notify(std::string message) {
    if (ended || pending.size() >= kMaxPending || bytes_ > kMaxPendingBytes) return false;
    push(std::move(message));
    return true;
}

void Stream::deliver(std::string message) {
    if (!ended) push(std::move(message));
}

void Stream::push(std::string message) {
    Event event{next_++, std::make_shared<std::string const>(std::move(message))};
    if (log_) log_->add(id, event);
    if (attached || !log_) {
        bytes_ += event.text->size();
        pending.push_back(std::move(event));
    }
    wake.notify();
}

void Stream::finish(std::string text, int status) {
    if (ended) return;
    http_status = status;
    if (begun || !pending.empty() || !attached)
        push(std::move(text));
    else
        response = std::move(text);
    end();
}

void Stream::end() {
    ended = true;
    wake.notify();
}

void Stream::resume(std::deque<Event> events) {
    begun = true;
    retry.reset();
    bytes_ = 0;
    for (auto const& event : events) bytes_ += event.text->size();
    pending = std::move(events);
}

void Stream::detach() {
    attached = false;
    if (!log_) return;
    pending.clear();  // the log has them
    bytes_ = 0;
}

void Stream::close_reply(base::milliseconds after) {
    if (!log_ || !primed || ended) return;
    retry = after;
    wake.notify();
}

void EventLog::add(std::uint64_t stream, Stream::Event event) {
    bytes_ += event.text->size();
    entries_.push_back({stream, std::move(event)});
    while (entries_.size() > 1 && (bytes_ > max_ || entries_.size() > kMaxLogged)) {
        bytes_ -= entries_.front().event.text->size();
        entries_.pop_front();
    }
}

std::deque<Stream::Event> EventLog::after(std::uint64_t stream, std::uint64_t number) const {
    std::deque<Stream::Event> out;
    for (auto const& entry : entries_)
        if (entry.stream == stream && entry.event.number > number) out.push_back(entry.event);
    return out;
}

bool EventLog::has(std::uint64_t stream) const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [stream](Entry const& e) { return e.stream == stream; });
}

std::string Delivery::event_id(std::uint64_t number) const {
    return "id: " + std::to_string(stream->id) + '-' + std::to_string(number) + '\n';
}

Task<bool> Delivery::begin() {
    fields.set("Content-Type", "text/event-stream");
    fields.set("Cache-Control", "no-cache");
    fields.set("X-Accel-Buffering", "no");  // nginx would hold events back
    bool const first = !std::exchange(stream->begun, true);
    auto const begun = co_await reply.begin(http::Status::ok, std::move(fields));
    if (!begun) co_return false;
    if (!first || !stream->primed) co_return true;
    auto const primed = co_await reply.write(event_id(0) + "data: \n\n");
    co_return primed.has_value();
}

Task<bool> Delivery::write_event(Stream::Event event) {
    std::string frame = stream->id ? event_id(event.number) : std::string();
    frame.reserve(frame.size() + event.text->size() + 24);
    frame.append("event: message\ndata: ").append(*event.text).append("\n\n");
    stream->bytes_ -= event.text->size();
    event.text.reset();
    auto const written = co_await reply.write(std::move(frame));
    co_return written.has_value();
}

Task<Delivery::Outcome> Delivery::run(bool at_once) {
    auto const mine = ++stream->generation;
    stream->attached = true;
    stream->wake.notify();  // the reply before us, if one still waits, gives way
    bool const throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    Outcome outcome = Outcome::gone;
    bool ok = true;
    if (at_once) ok = co_await begin();
    while (ok) {
        if (stream->generation != mine) {
            outcome = Outcome::gave_way;
            break;
        }
        if (!stream->pending.empty()) {
            if (!reply.begun()) ok = co_await begin();
            if (!ok || stream->generation != mine || stream->pending.empty()) continue;
            auto event = std::move(stream->pending.front());
            stream->pending.pop_front();
            ok = co_await write_event(std::move(event));
            continue;
        }
        if (stream->ended || stream->retry) {
            outcome = Outcome::done;
            break;
        }
        bool const woken = co_await stream->wake.wait(keep_alive);
        bool const gone = co_await cancelled();
        if (gone) break;
        if (woken || stream->generation != mine) continue;
        if (!reply.begun()) ok = co_await begin();
        if (!ok) break;
        auto const kept = co_await reply.write(":\n\n");
        ok = kept.has_value();
    }
    if (outcome == Outcome::done && !stream->response.empty()) {
        fields.set("Content-Type", "application/json");
        auto const sent = co_await reply.send(static_cast<http::Status>(stream->http_status),
                                              std::move(fields), std::move(stream->response));
        if (!sent) outcome = Outcome::gone;
    } else if (outcome == Outcome::done && stream->retry && !stream->ended) {
        if (!reply.begun()) ok = co_await begin();
        if (ok) {
            auto const asked =
                co_await reply.write("retry: " + std::to_string(stream->retry->count()) + "\n\n");
            ok = asked.has_value();
        }
        if (ok) co_await reply.finish();
    } else if (reply.begun()) {
        if (outcome != Outcome::gone) co_await reply.finish();
    } else if (outcome != Outcome::gone) {
        co_await reply.send(http::Status::accepted, std::move(fields),
                            {});  // a cancelled request has no response
    }
    if (stream->generation == mine) stream->detach();
    co_await asio::this_coro::throw_if_cancelled(throws);
    co_return outcome;
}

}  // namespace mcp
