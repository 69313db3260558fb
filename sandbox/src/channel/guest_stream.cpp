#include "channel_impl.hpp"

#include <algorithm>
#include <cstring>

namespace sandbox {

using base::errc;
using base::error;
using protocol::Kind;

class ChannelStream final : public base::ByteStream {
  public:
    ChannelStream(std::shared_ptr<Channel::Impl> channel, std::shared_ptr<StreamState> state)
        : channel_(std::move(channel)), state_(std::move(state)) {}

    ~ChannelStream() override { end(); }

    base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto const channel = channel_;      // the stream object may go while this waits
        auto const state = state_;
        while (state->received.size() == state->consumed) {
            if (state->ended) co_return std::size_t{0};
            if (state->broken) co_return *state->broken;
            co_await state->readable.async_wait(base::as_tuple);   // woken by being cancelled
            auto const cancelled = co_await asio::this_coro::cancellation_state;
            if (cancelled.cancelled() != asio::cancellation_type::none)
                co_return error(errc::cancelled, "read from the sandbox");
        }
        std::size_t const n = std::min(buffer.size(), state->received.size() - state->consumed);
        std::memcpy(buffer.data(), state->received.data() + state->consumed, n);
        state->consumed += n;
        state->to_grant += static_cast<std::uint32_t>(n);
        if (state->consumed == state->received.size()) {
            state->received.clear();
            state->consumed = 0;
        }
        if (!state->ended && !state->broken && state->to_grant >= protocol::kWindow / 4) {
            std::string credit;
            protocol::store32(credit, std::exchange(state->to_grant, 0));
            channel->push(channel->fast, protocol::make_frame(Kind::credit, state->id, credit));
        }
        co_return n;
    }

    base::Task<base::Status> write(asio::const_buffer buffer) override {
        auto const channel = channel_;
        auto const state = state_;
        std::string_view rest(static_cast<char const*>(buffer.data()), buffer.size());
        while (!rest.empty()) {
            if (state->broken) co_return *state->broken;
            if (state->shut_sent) co_return error(errc::invalid, "write after shutdown_write");
            if (state->credit == 0) {
                co_await state->writable.async_wait(base::as_tuple);
                auto const cancelled = co_await asio::this_coro::cancellation_state;
                if (cancelled.cancelled() != asio::cancellation_type::none)
                    co_return error(errc::cancelled, "write to the sandbox");
                continue;
            }
            auto const part = rest.substr(
                0, std::min<std::size_t>(state->credit, protocol::kMaxToGuest - protocol::kHeaderBytes));
            state->credit -= static_cast<std::uint32_t>(part.size());
            rest.remove_prefix(part.size());
            channel->push(channel->fast, protocol::make_frame(Kind::data, state->id, part));
        }
        co_return base::Status{};
    }

    void shutdown_write() override {
        if (state_->shut_sent || state_->broken) return;
        state_->shut_sent = true;
        channel_->push(channel_->fast, protocol::make_frame(Kind::shut, state_->id, {}));
    }

    void close() override { end(); }

  private:
    void end() {
        auto const it = channel_->streams.find(state_->id);
        if (it != channel_->streams.end() && it->second == state_) {
            channel_->streams.erase(it);
            if (!(state_->ended && state_->shut_sent))
                channel_->push(channel_->fast, protocol::make_frame(Kind::close, state_->id, {}));
        }
        // Whoever still waits in a call on this stream wakes up with an error.
        state_->received.clear();
        state_->consumed = 0;
        state_->break_off(error(errc::cancelled, "the stream was closed"));
    }

    std::shared_ptr<Channel::Impl> channel_;
    std::shared_ptr<StreamState> state_;
};

void Channel::Impl::on_stream_frame(protocol::Frame const& frame) {
    if (frame.kind == Kind::open) {
        if (!(frame.id & protocol::kGuestStreamBit) || streams.contains(frame.id))
            return fail("the guest opened a stream with a bad id");
        if (!stream_handler || streams.size() >= kMaxStreams)
            return push(fast, protocol::make_frame(Kind::close, frame.id, {}));
        auto const state = std::make_shared<StreamState>(io, frame.id);
        streams[frame.id] = state;
        auto const handler = stream_handler;              // it may replace itself
        return handler(std::make_unique<ChannelStream>(shared_from_this(), state));
    }
    if (frame.kind == Kind::attach || frame.kind == Kind::request) return fail("the guest sent a server's frame");
    auto const it = streams.find(frame.id);
    if (it == streams.end()) return;                      // crossed with our close
    auto const state = it->second;
    switch (frame.kind) {
        case Kind::data:
            if (state->ended || state->received.size() - state->consumed + state->to_grant + frame.payload.size() >
                                    protocol::kWindow)
                return fail("the guest sent more than a stream's window");
            if (state->consumed > state->received.size() / 2) {      // else moving the rest costs more than it frees
                state->received.erase(0, state->consumed);
                state->consumed = 0;
            }
            state->received.append(frame.payload);
            state->readable.cancel();
            return;
        case Kind::credit: {
            if (frame.payload.size() != 4) return fail("the guest sent a malformed credit");
            auto const more = protocol::load32(frame.payload.data());
            if (more > protocol::kWindow - state->credit) return fail("the guest granted more than a stream's window");
            state->credit += more;
            state->writable.cancel();
            return;
        }
        case Kind::shut:
            state->ended = true;
            state->readable.cancel();
            return;
        default:
            streams.erase(it);
            // Held back: the guest ends them all at a checkpoint.
            state->break_off(holding ? put_to_sleep() : error(errc::unavailable, "the connection inside was closed"));
            return;
    }
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Channel::Impl::open_stream(std::shared_ptr<Impl> self,
                                                                                  base::Json request, std::string bytes,
                                                                                  base::milliseconds limit) {
    std::uint32_t id = 0;
    auto reply = co_await call(self, std::move(request), std::move(bytes), limit, true, &id);
    if (!reply) {
        // The guest may have connected while we gave up; a stream nobody owns must not stay open inside.
        if (id != 0 && !self->ended && !self->pending.contains(id) &&
            (is(reply.error(), errc::timed_out) || is(reply.error(), errc::cancelled)))
            self->push(self->fast, protocol::make_frame(Kind::close, id, {}));
        co_return reply.error();
    }
    auto const it = self->streams.find(id);
    if (it == self->streams.end()) co_return error(errc::unavailable, "the connection inside was closed");
    auto const state = it->second;
    co_return std::unique_ptr<base::ByteStream>(std::make_unique<ChannelStream>(self, state));
}

}  // namespace sandbox
