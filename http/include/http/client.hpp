#pragma once
#include <base/byte_stream.hpp>
#include <http/server.hpp>

#include <deque>

namespace http {

struct ClientRequest {
    std::string method, target;
    Fields fields;                         ///< framing and Connection are ours; an Upgrade field asks for one
    bool has_body = false;
    std::optional<std::uint64_t> length;   ///< of the body; nullopt sends it in chunks
};

struct ResponseHead {
    Status status{};
    Fields fields;                         ///< without framing and Connection
    bool has_body = false;
    std::optional<std::uint64_t> length;   ///< of the body, or what HEAD says it would be; nullopt when unknown
};

struct ClientLimits {
    std::size_t max_head_bytes = 64 * 1024;
    int max_interim = 16;                  ///< 1xx answers before the final one
};

/// One HTTP/1.1 connection to a server that need not be trusted, over any stream: a request, its answer, and the next one
/// while both sides agree where the last one ended. An answer that can be read in two ways is errc::invalid.
/// A request's body may be written while its answer is read. No time limits of its own: `close` frees whoever waits.
/// Threads: the I/O thread.
class ClientConnection {
  public:
    /// Takes the stream over, connected and with nothing read of it.
    ClientConnection(std::unique_ptr<base::ByteStream> stream, ClientLimits limits = {});
    ~ClientConnection();

    /// The head. Then, for a request with a body, `write`... and `finish`.
    base::Task<base::Status> begin(ClientRequest request);
    base::Task<base::Status> write(std::string_view piece);    ///< `piece` is good until this returns
    base::Task<base::Status> finish();                         ///< errc::internal: less was written than was said

    /// The final answer's head, or 101 when an upgrade was asked for. errc::unavailable: the server closed first;
    /// errc::invalid: not HTTP, or ambiguous; errc::limit: a head that is too large.
    base::Task<base::Result<ResponseHead>> response();
    /// Whether a byte of the answer has arrived: until then a request that changes nothing may be sent again elsewhere.
    bool answered() const { return answered_; }
    /// The next bytes of the body as they arrive, "" at its end.
    base::Task<base::Result<std::string>> receive();
    /// True once request and answer are complete and the server keeps the connection.
    bool reusable() const;
    /// After a 101: the stream, beginning with what came behind the head. The connection is void then.
    std::unique_ptr<base::ByteStream> upgraded();
    void close();    ///< at once; idempotent

  private:
    struct Answer;
    base::Task<base::Result<std::size_t>> fill();

    std::unique_ptr<base::ByteStream> stream_;
    ClientLimits limits_;
    std::unique_ptr<Answer> answer_;
    std::string method_;
    bool wants_upgrade_ = false, upgraded_ = false;
    bool chunked_ = false, sent_ = true, answered_ = false;
    std::optional<std::uint64_t> left_;    ///< of a request's body whose length was said
};

/// The connections to one server. Idle ones are kept for requests that may be repeated: what the server closed meanwhile
/// is then found out without harm. Others get a connection of their own.
class Client {
  public:
    using Connect = std::function<base::Task<base::Result<std::unique_ptr<base::ByteStream>>>()>;
    struct Options {
        std::size_t max_idle = 64;
        base::milliseconds idle_limit{4'000};   ///< Node's servers close after 5 s
        ClientLimits limits;
    };
    explicit Client(Options options) : options_(options) {}

    struct Taken {
        std::shared_ptr<ClientConnection> connection;
        bool reused = false;
    };
    /// An idle connection when `may_reuse` and there is one, else a new one by `connect`.
    base::Task<base::Result<Taken>> take(Connect connect, bool may_reuse);
    /// Keeps it when it can be used again.
    void give_back(std::shared_ptr<ClientConnection>);
    /// Closes those that have been idle for too long. True when none is left.
    bool prune();

  private:
    struct Idle {
        std::shared_ptr<ClientConnection> connection;
        base::Clock::time_point until;
    };
    Options options_;
    std::deque<Idle> idle_;                ///< oldest first
};

}  // namespace http
