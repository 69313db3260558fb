#include "link.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

namespace guest {

using protocol::Kind;

namespace {
constexpr int kReadsAtOnce = 8;  // then other descriptors' turn
}

Link::Link(Loop& loop, int in, int out) : loop_(loop), in_(in), out_(out) {
    for (int fd : {in_, out_}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    loop_.watch(in_, EPOLLIN, [this](std::uint32_t events) { readable(events); });
    loop_.watch(out_, 0, [this](std::uint32_t) { flush(); });
    loop_.before_waiting([this] {
        if (!blocked_ && !queue_.empty()) flush();
    });
}

void Link::readable(std::uint32_t) {
    static char chunk[64 * 1024];
    ssize_t n = 0;
    for (int turn = 0; turn < kReadsAtOnce; ++turn) {
        n = ::read(in_, chunk, sizeof chunk);
        if (n <= 0) break;
        buffer_.append(chunk, static_cast<std::size_t>(n));
        parse();
        if (static_cast<std::size_t>(n) < protocol::kMaxToGuest)
            break;  // no bulk: what comes makes it readable again
    }
    bool const later = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (on_parsed) on_parsed();
    if (later) return;
    // No writer at all: possible only when somebody opened the FIFO otherwise than agreed. Level-triggered
    // readiness would spin, so look again later.
    loop_.change(in_, 0);
    loop_.after(200, [this] { loop_.change(in_, EPOLLIN); });
}

void Link::parse() {
    std::string_view rest = buffer_;
    protocol::Frame frame;
    for (;;) {
        auto const parsed = protocol::parse_frame(rest, protocol::kMaxToGuest, frame);
        if (parsed == protocol::Parsed::incomplete) break;
        if (parsed == protocol::Parsed::invalid) {
            // Cannot come from a server of ours, whose writes are whole frames. The next server attaches
            // afresh.
            rest = {};
            break;
        }
        rest.remove_prefix(frame.size);
        switch (frame.kind) {
            case Kind::attach:
                attach(frame.payload);
                break;
            case Kind::request:
                message(frame);
                break;
            case Kind::data:
            case Kind::credit:
            case Kind::shut:
            case Kind::close:
                on_stream(frame);
                break;
            case Kind::reply:
            case Kind::open:
                break;
        }
    }
    buffer_.erase(0, buffer_.size() - rest.size());
}

void Link::attach(std::string_view nonce) {
    // Even a frame half written is given up: the new server reads nothing before its own nonce.
    queue_.clear();
    sent_ = 0;
    partial_.clear();
    partial_bytes_ = 0;
    on_attach();
    queue_.assign(protocol::kSyncMagic).append(nonce.substr(0, protocol::kNonceBytes));
    sent_ = 0;
    flush();
}

void Link::message(protocol::Frame const& frame) {
    std::string whole;
    std::string_view bytes = frame.payload;
    if (auto it = partial_.find(frame.id); it != partial_.end() || frame.more) {
        auto& part = partial_[frame.id];
        partial_bytes_ += bytes.size();
        part.append(bytes);
        if (part.size() > protocol::kMaxMessage || partial_bytes_ > 2 * protocol::kMaxMessage) {
            partial_bytes_ -= part.size();
            partial_.erase(frame.id);
            return fail(frame.id, "limit", "the request is too large");
        }
        if (frame.more) return;
        whole = std::move(part);
        partial_bytes_ -= whole.size();
        partial_.erase(frame.id);
        bytes = whole;
    }
    std::string_view json, raw;
    if (!protocol::split_message(bytes, json, raw)) return fail(frame.id, "invalid", "malformed request");
    auto request = Json::parse(json, nullptr, false);
    if (!request.is_object()) return fail(frame.id, "invalid", "the request is no JSON object");
    on_request(frame.id, std::move(request), raw);
}

void Link::reply(std::uint32_t id, Json const& body, std::string_view raw) {
    auto const json = body.dump(-1, ' ', false, Json::error_handler_t::replace);
    protocol::frame_message(Kind::reply, id, json, raw, protocol::kMaxFromGuest,
                            [this](std::string const& frame) { queue_.append(frame); });
    if (!blocked_) flush();
}

void Link::fail(std::uint32_t id, char const* code, std::string const& message) {
    reply(id, Json{{"error", code}, {"message", message}});
}

void Link::send(Kind kind, std::uint32_t id, std::string_view payload) {
    protocol::append_frame(queue_, kind, id, payload);
}

void Link::flush() {
    bool const was_congested = congested();
    blocked_ = false;
    while (sent_ < queue_.size()) {
        ssize_t const n = ::write(out_, queue_.data() + sent_, queue_.size() - sent_);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            blocked_ = true;
            break;
        }
        if (n < 0) break;  // nobody can read it: as good as a server that died
        sent_ += static_cast<std::size_t>(n);
    }
    if (!blocked_) {
        sent_ = 0;
        if (queue_.capacity() > kKept) queue_ = {};
        queue_.clear();
    } else if (sent_ > kLowWater) {
        queue_.erase(0, sent_);
        sent_ = 0;
    }
    loop_.change(out_, blocked_ ? EPOLLOUT : 0u);
    if (was_congested && !congested() && on_drained) on_drained();
}

}  // namespace guest
