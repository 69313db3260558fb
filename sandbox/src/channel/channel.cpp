#include "channel_impl.hpp"

#include <base/ids.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace sandbox {

using base::errc;
using base::error;
using protocol::Kind;

namespace {

base::Error guest_error(base::Json const& body) {
    static constexpr std::pair<std::string_view, errc> kCodes[] = {
        {"invalid", errc::invalid}, {"not_found", errc::not_found}, {"exists", errc::exists},
        {"limit", errc::limit},     {"busy", errc::busy},           {"denied", errc::denied}};
    auto code = errc::unavailable;
    if (auto const name = body.find("error"); name != body.end() && name->is_string())
        for (auto const& [text, value] : kCodes)
            if (name->get_ref<std::string const&>() == text) code = value;
    std::string message = "refused inside";
    if (auto const m = body.find("message"); m != body.end() && m->is_string())
        message = m->get_ref<std::string const&>().substr(0, 1000);
    return error(code, std::move(message));
}

}  // namespace

Channel::Impl::Impl(asio::io_context& context, base::UniqueFd to_guest, base::UniqueFd from_guest)
    : io(context), out(context), in(context) {
    for (int fd : {to_guest.get(), from_guest.get()}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    out.assign(to_guest.release());
    in.assign(from_guest.release());
}

void Channel::Impl::attach() {
    drop_all(error(errc::unavailable, "the channel was attached anew"));
    fast.clear();
    bulk.clear();
    held.clear();
    holding = false;
    queued_bytes = 0;
    received.clear();
    discarded = 0;
    synced = false;
    nonce = base::random_bytes(protocol::kNonceBytes);
    push(fast, protocol::make_frame(Kind::attach, 0, nonce));
}

void Channel::Impl::push(std::deque<std::string>& queue, std::string frame) {
    if (ended) return;
    queued_bytes += frame.size();
    (holding ? held : queue).push_back(std::move(frame));
    flush();
}

void Channel::Impl::release() {
    holding = false;
    for (auto& frame : std::exchange(held, {})) bulk.push_back(std::move(frame));      // in their order
    flush();
}

// What was sent before must have left, so that the answer proves the guest has read it all: a frame cut by the checkpoint
// would swallow the next server's first bytes.
base::Task<base::Result<Channel::Reply>> Channel::Impl::quiesce(std::shared_ptr<Impl> self, base::milliseconds limit) {
    if (self->holding) co_return error(errc::busy, "the sandbox is being put to sleep");
    self->holding = true;
    auto const end = base::Clock::now() + limit;
    asio::steady_timer pause(self->io);
    while (!self->ended && !(self->fast.empty() && self->bulk.empty())) {
        if (base::Clock::now() > end) {
            self->release();
            co_return error(errc::timed_out, "the sandbox does not take what was sent");
        }
        pause.expires_after(base::milliseconds(1));
        co_await pause.async_wait(base::as_tuple);
    }
    base::Json request{{"op", "quiesce"}};
    auto reply = co_await call(self, std::move(request), {}, limit, false, nullptr, true);
    if (!reply) self->release();
    co_return reply;
}

void Channel::Impl::flush() {
    while (!ended && !writing && (!fast.empty() || !bulk.empty())) {
        // Large requests take turns with everything else, frame by frame.
        auto& queue = fast.empty() || (bulk_turn && !bulk.empty()) ? bulk : fast;
        ssize_t const n = ::write(out.native_handle(), queue.front().data(), queue.front().size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            writing = true;
            out.async_wait(out.wait_write, [self = shared_from_this()](boost::system::error_code ec) {
                self->writing = false;
                if (ec && !self->ended) return self->fail("wait for the guest's FIFO: " + ec.message());
                self->flush();
            });
            return;
        }
        // PIPE_BUF: whole or not at all.
        if (n < 0 || static_cast<std::size_t>(n) != queue.front().size())
            return fail(base::errno_error("write to the guest's FIFO").message());
        queued_bytes -= queue.front().size();
        bulk_turn = &queue == &fast;
        queue.pop_front();
    }
}

void Channel::Impl::wait_readable() {
    if (ended) return;
    in.async_wait(in.wait_read, [self = shared_from_this()](boost::system::error_code ec) {
        if (self->ended) return;
        if (ec) return self->fail("wait for the guest's FIFO: " + ec.message());
        self->read_some();
        self->wait_readable();
    });
}

void Channel::Impl::read_some() {
    static thread_local char chunk[64 * 1024];
    for (int turn = 0; turn < 4 && !ended; ++turn) {      // then other sandboxes' turn
        ssize_t const n = ::read(in.native_handle(), chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) return fail(base::errno_error("read the guest's FIFO").message());
        if (n == 0) return fail("the guest's FIFO was closed");
        received.append(chunk, static_cast<std::size_t>(n));
        parse();
    }
}

bool Channel::Impl::find_sync() {
    auto const wanted = std::string(protocol::kSyncMagic) + nonce;
    auto const at = received.find(wanted);
    if (at == received.npos) {
        std::size_t const drop = received.size() - std::min(received.size(), wanted.size() - 1);
        discarded += drop;
        received.erase(0, drop);
        if (discarded > kMaxDiscarded) fail("the guest sent no answer to attach among 64 MiB");
        return false;
    }
    received.erase(0, at + wanted.size());
    synced = true;
    return true;
}

void Channel::Impl::parse() {
    if (!synced && !find_sync()) return;
    std::string buffer = std::move(received);
    received.clear();
    std::string_view rest = buffer;
    auto const before = nonce;
    while (!ended) {
        protocol::Frame frame;
        auto const parsed = protocol::parse_frame(rest, protocol::kMaxFromGuest, frame);
        if (parsed == protocol::Parsed::invalid) return fail("the guest sent a malformed frame");
        if (parsed == protocol::Parsed::incomplete) break;
        rest.remove_prefix(frame.size);
        if (frame.kind == Kind::reply) on_reply(frame);
        else on_stream_frame(frame);
        if (nonce != before) return;                      // attached anew meanwhile: the rest is of the old time
    }
    received.assign(rest);
}

void Channel::Impl::on_reply(protocol::Frame const& frame) {
    auto const it = pending.find(frame.id);
    if (it == pending.end()) return;                      // its caller gave up
    auto const call = it->second;
    if (assembling_bytes + frame.payload.size() > kMaxAssembling ||
        call->message.size() + frame.payload.size() > protocol::kMaxMessage)
        return fail("the guest's answer is too large");
    std::string_view message = frame.payload;
    if (frame.more || !call->message.empty()) {
        call->message.append(frame.payload);
        assembling_bytes += frame.payload.size();
        if (frame.more) return;
        message = call->message;
    }
    std::string_view json, raw;
    if (!protocol::split_message(message, json, raw)) return fail("the guest sent a malformed answer");
    auto body = base::parse_json(json, base::JsonLimits{protocol::kMaxJson, 8});
    if (!body) return fail("the guest's answer: " + body.error().message());
    if (!body->is_object()) return fail("the guest's answer is no JSON object");
    if (body->contains("error")) {
        finish(frame.id, guest_error(*body));
    } else {
        Reply reply;
        reply.body = std::move(*body);
        reply.bytes = raw;
        finish(frame.id, std::move(reply));
    }
}

void Channel::Impl::forget(std::uint32_t id) {
    auto const it = pending.find(id);
    if (it == pending.end()) return;
    assembling_bytes -= it->second->message.size();
    pending.erase(it);
}

void Channel::Impl::finish(std::uint32_t id, base::Result<Reply> result) {
    auto const it = pending.find(id);
    if (it == pending.end()) return;
    auto const call = it->second;
    // The stream must exist before its first bytes, which may be in this very buffer.
    if (result && call->connects) streams[id] = std::make_shared<StreamState>(io, id);
    call->result.emplace(std::move(result));
    call->timer.cancel();
    forget(id);
}

void Channel::Impl::drop_all(base::Error why) {
    auto const calls = std::exchange(pending, {});
    assembling_bytes = 0;
    for (auto const& [id, call] : calls) {
        call->result.emplace(why);
        call->timer.cancel();
    }
    auto const open = std::exchange(streams, {});
    for (auto const& [id, stream] : open) stream->break_off(why);
}

void Channel::Impl::end(std::string why) {
    if (ended) return;
    ended = true;
    reason = std::move(why);
    boost::system::error_code ignored;
    out.close(ignored);
    in.close(ignored);
    fast.clear();
    bulk.clear();
    held.clear();
    received.clear();
    stream_handler = nullptr;
    drop_all(error(errc::unavailable, reason));
}

void Channel::Impl::fail(std::string why) {
    if (ended) return;
    end(std::move(why));
    if (auto handler = std::exchange(failed_handler, nullptr))
        asio::post(io, [handler = std::move(handler), text = reason] { handler(text); });
}

std::uint32_t Channel::Impl::new_id() {
    do next_id = (next_id + 1) & ~protocol::kGuestStreamBit;
    while (next_id == 0 || pending.contains(next_id) || streams.contains(next_id));
    return next_id;
}

base::Task<base::Result<Channel::Reply>> Channel::Impl::call(std::shared_ptr<Impl> self, base::Json request,
                                                             std::string bytes, base::milliseconds limit,
                                                             bool connects, std::uint32_t* id_out, bool past_hold) {
    if (self->ended) co_return error(errc::unavailable, self->reason);
    if (self->pending.size() >= kMaxPending || self->queued_bytes > kMaxQueued)
        co_return error(errc::busy, "too many calls to the sandbox are waiting");
    auto const json = base::dump(request);
    if (json.size() > protocol::kMaxJson || json.size() + bytes.size() + 4 > protocol::kMaxMessage)
        co_return error(errc::limit, "the request is too large");
    std::uint32_t const id = self->new_id();
    if (id_out) *id_out = id;
    auto const call = std::make_shared<Pending>(self->io, limit);
    call->connects = connects;
    self->pending[id] = call;
    bool const small = json.size() + bytes.size() + 4 + protocol::kHeaderBytes <= protocol::kMaxToGuest;
    protocol::frame_message(Kind::request, id, json, bytes, protocol::kMaxToGuest, [&](std::string frame) {
        if (past_hold) self->holding = false;
        self->push(small ? self->fast : self->bulk, std::move(frame));
        if (past_hold) self->holding = true;
    });
    bytes = {};
    boost::system::error_code ec;
    if (!call->result) {
        auto [wait_ec] = co_await call->timer.async_wait(base::as_tuple);
        ec = wait_ec;
    }
    if (call->result) co_return std::move(*call->result);
    self->forget(id);
    if (ec) co_return error(errc::cancelled, "the caller went away");
    co_return error(errc::timed_out, "the sandbox did not answer");
}

Channel::Channel(asio::io_context& io, base::UniqueFd to_guest, base::UniqueFd from_guest)
    : impl_(std::make_shared<Impl>(io, std::move(to_guest), std::move(from_guest))) {
    impl_->attach();
    impl_->wait_readable();
}

Channel::~Channel() {
    impl_->failed_handler = nullptr;
    impl_->end("the channel was closed");
}

base::Task<base::Result<Channel::Reply>> Channel::call(base::Json request, std::string bytes,
                                                       base::milliseconds limit) {
    return Impl::call(impl_, std::move(request), std::move(bytes), limit, false, nullptr);
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Channel::connect(int port, base::milliseconds limit) {
    return open_stream(base::Json{{"op", "connect"}, {"port", port}}, {}, limit);
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Channel::open_stream(base::Json request, std::string bytes,
                                                                            base::milliseconds limit) {
    return Impl::open_stream(impl_, std::move(request), std::move(bytes), limit);
}

void Channel::on_stream(std::function<void(std::unique_ptr<base::ByteStream>)> handler) {
    if (!impl_->ended) impl_->stream_handler = std::move(handler);
}

void Channel::on_failed(std::function<void(std::string)> handler) { impl_->failed_handler = std::move(handler); }

void Channel::attach() {
    if (!impl_->ended) impl_->attach();
}

base::Task<base::Result<Channel::Reply>> Channel::quiesce(base::milliseconds limit) {
    return Impl::quiesce(impl_, limit);
}

void Channel::release() { impl_->release(); }

int Channel::drop_streams() {
    auto const open = std::exchange(impl_->streams, {});
    for (auto const& [id, stream] : open) stream->break_off(put_to_sleep());
    return static_cast<int>(open.size());
}

void Channel::close(std::string reason) { impl_->end(std::move(reason)); }
bool Channel::usable() const { return !impl_->ended; }
std::string const& Channel::reason() const { return impl_->reason; }

}  // namespace sandbox
