#pragma once
#include <base/asio.hpp>
#include <base/json.hpp>
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <sandbox/guest.hpp>

#include <functional>
#include <memory>
#include <string>

namespace sandbox {

/// The wire to process 1 of one sandbox: two FIFOs, which the host opens O_RDWR so that neither end sees end of file or
/// EPIPE when the other dies. Multiplexes calls and byte streams. What comes from inside is hostile: a violation of the
/// protocol fails this channel with a reason and nothing else.
/// A fresh Channel attaches at once: calls may be made immediately, and are answered after the guest has dropped what an
/// earlier server left half done. A frozen guest answers once it is thawed; only the calls' own limits run.
/// Threads: the I/O thread only. Lifetime: destruction closes; streams and calls in flight end with errc::unavailable.
class Channel {
  public:
    struct Reply {
        base::Json body;
        std::string bytes;
    };

    /// `to_guest` is the slot's `in` FIFO, `from_guest` its `out` FIFO; both are made non-blocking.
    Channel(asio::io_context&, base::UniqueFd to_guest, base::UniqueFd from_guest);
    ~Channel();

    /// One request and its answer. Errors: the guest's own, errc::timed_out after `limit`, errc::unavailable when the
    /// channel failed or was closed, errc::busy when too much is queued, errc::cancelled.
    base::Task<base::Result<Reply>> call(base::Json request, std::string bytes, base::milliseconds limit);
    /// To a port that a program inside listens on. Errors as `call`, the guest's own when nobody does.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(int port, base::milliseconds limit);
    /// A request whose answer opens a stream.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> open_stream(base::Json request, std::string bytes,
                                                                    base::milliseconds limit);
    /// For each stream that a program inside opens; without a handler they are closed.
    void on_stream(std::function<void(std::unique_ptr<base::ByteStream>)> handler);
    /// Called once, from the I/O context and never from inside a call, when the channel fails by itself (not by `close`).
    void on_failed(std::function<void(std::string reason)> handler);

    /// Starts over on the same FIFOs, as after a restore: calls and streams in flight end with errc::unavailable.
    void attach();
    /// Holds back whatever is sent from now on, and asks the guest to stand still (see Guest::quiesce) once it has read
    /// everything that was sent before. When this fails nothing is held back. The limits of calls go on running.
    base::Task<base::Result<Reply>> quiesce(base::milliseconds limit);
    void release();                        ///< what `quiesce` held back goes out, in order
    /// Ends the streams on this side. Returns how many.
    int drop_streams();
    /// The sandbox is gone: everything in flight ends with errc::unavailable and this reason. Idempotent.
    void close(std::string reason);
    bool usable() const;                   ///< neither failed nor closed
    std::string const& reason() const;     ///< why it is not usable

  private:
    struct Impl;
    friend class ChannelStream;
    std::shared_ptr<Impl> impl_;           // shared with the descriptor's handlers, calls in flight and streams
};

}  // namespace sandbox
