#pragma once
#include <sandbox/channel.hpp>
#include <sandbox/protocol.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

namespace sandbox {

/// Why streams end at a checkpoint, told from what a program inside does: errc::busy, a new one can be had in a moment.
inline base::Error put_to_sleep() { return base::error(base::errc::busy, "the sandbox is put to sleep"); }

/// The host's view of one byte stream. Shared by the channel, which fills it, and the base::ByteStream, which empties it.
struct StreamState {
    StreamState(asio::io_context& io, std::uint32_t number)
        : id(number), readable(io, asio::steady_timer::time_point::max()),
          writable(io, asio::steady_timer::time_point::max()) {}

    void break_off(base::Error why) {
        if (!broken) broken = std::move(why);
        readable.cancel();
        writable.cancel();
    }

    std::uint32_t id;
    std::string received;                       // within the window we granted
    std::size_t consumed = 0;                   // of its front
    std::uint32_t to_grant = 0;                 // read by the owner, not yet returned as credit
    bool ended = false;                         // shut came
    std::uint32_t credit = protocol::kWindow;   // what the guest can take
    bool shut_sent = false;
    std::optional<base::Error> broken;          // closed by the guest, or with the channel
    asio::steady_timer readable, writable;      // never expire; cancelled to wake the waiting coroutine
};

struct Channel::Impl : std::enable_shared_from_this<Channel::Impl> {
    static constexpr std::size_t kMaxPending = 1024;
    static constexpr std::size_t kMaxQueued = 64 << 20;
    static constexpr std::size_t kMaxAssembling = 64 << 20;
    static constexpr std::size_t kMaxDiscarded = 64 << 20;
    static constexpr std::size_t kMaxStreams = 2048;

    struct Pending {
        Pending(asio::io_context& io, base::milliseconds limit) : timer(io, limit) {}
        asio::steady_timer timer;
        std::string message;                    // fragments so far
        bool connects = false;
        std::optional<base::Result<Reply>> result;
    };

    Impl(asio::io_context&, base::UniqueFd to_guest, base::UniqueFd from_guest);
    void attach();
    void push(std::deque<std::string>& queue, std::string frame);
    void release();
    static base::Task<base::Result<Reply>> quiesce(std::shared_ptr<Impl> self, base::milliseconds limit);
    void flush();
    void wait_readable();
    void read_some();
    bool find_sync();
    void parse();
    void on_reply(protocol::Frame const&);
    void on_stream_frame(protocol::Frame const&);
    void forget(std::uint32_t id);
    void finish(std::uint32_t id, base::Result<Reply>);
    void drop_all(base::Error why);
    void end(std::string why);
    void fail(std::string why);
    std::uint32_t new_id();
    static base::Task<base::Result<Reply>> call(std::shared_ptr<Impl> self, base::Json request, std::string bytes,
                                                base::milliseconds limit, bool connects, std::uint32_t* id_out,
                                                bool past_hold = false);
    static base::Task<base::Result<std::unique_ptr<base::ByteStream>>> open_stream(std::shared_ptr<Impl> self,
                                                                              base::Json request, std::string bytes,
                                                                              base::milliseconds limit);

    asio::io_context& io;
    asio::posix::stream_descriptor out, in;
    bool ended = false;
    std::string reason;
    std::function<void(std::unique_ptr<base::ByteStream>)> stream_handler;
    std::function<void(std::string)> failed_handler;

    std::deque<std::string> fast, bulk;         // whole messages and stream frames; fragments of large requests
    bool bulk_turn = false;
    bool writing = false;                       // waiting for room in the FIFO
    std::size_t queued_bytes = 0;
    bool holding = false;                       // frames wait in `held` until `release`
    std::deque<std::string> held;

    std::string nonce;
    bool synced = false;
    std::size_t discarded = 0;
    std::string received;

    std::uint32_t next_id = 0;
    std::map<std::uint32_t, std::shared_ptr<Pending>> pending;
    std::size_t assembling_bytes = 0;
    std::map<std::uint32_t, std::shared_ptr<StreamState>> streams;
};

}  // namespace sandbox
