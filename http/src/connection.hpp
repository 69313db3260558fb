#pragma once
#include "core.hpp"
#include "stream.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace http {

class HttpReply;

/// One client: its requests one after the other, each answered before the next is looked at. Owned by its
/// coroutine.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    using Buffers = std::array<asio::const_buffer, 3>;
    using BodyParser = beast::http::request_parser<beast::http::buffer_body>;

    /// `network`: what counts as one TCP peer; "" for a local one and for trusted proxies.
    Connection(std::shared_ptr<Core>, Stream::Socket, std::shared_ptr<asio::ssl::context>, std::string peer,
               std::string network, From);
    ~Connection();
    static base::Task<void> run(std::shared_ptr<Connection>);

    From from() const { return from_; }
    std::string const& network() const { return network_; }

    /// For the sweep.
    base::Clock::time_point deadline() const { return std::min(deadline_, write_deadline_); }
    bool handling() const { return phase_ == Phase::handler && !gone_; }
    int descriptor() { return stream_.socket().native_handle(); }

    /// Between two requests, or saying goodbye: nothing is lost when it ends now.
    bool idle() const { return phase_ == Phase::head || phase_ == Phase::goodbye; }
    /// Cancels the handler; its client may still get an answer.
    void cancel();
    /// The client is gone or too slow: cancels the handler and closes.
    void abandon();

    /// Everything, each step of it within write_limit.
    base::Task<base::Status> write(Buffers);
    /// The next piece of a body that its handler takes itself, "" at the end.
    base::Task<base::Result<std::string>> receive(BodyParser&);
    /// "100 Continue". False when the client is gone.
    base::Task<bool> proceed();
    /// From now on the connection carries whatever its handler reads and writes.
    std::unique_ptr<base::ByteStream> tunnel();

  private:
    friend class Tunnel;
    using Work = std::function<base::Task<void>()>;
    enum class Phase { head, body, handler, tunnel, goodbye };
    using Parser = beast::http::request_parser<beast::http::string_body>;
    struct Head {
        std::size_t size = 0;  ///< 0: no request came
        std::optional<Refusal> refusal;
    };
    struct Admitted {
        Route const* route = nullptr;
        Principal principal;
    };

    base::Task<bool> exchange();
    base::Task<Head> read_head();
    boost::system::result<Admitted, Refusal> admit(Fields const&, Verb, std::string_view path) const;
    base::Task<std::optional<Refusal>> read_body(Parser&);
    base::Task<bool> serve(Site const&, std::string host, Parser&);
    base::Task<bool> answer(HttpReply&, Work);
    base::Task<bool> refuse(Refusal, bool keep_alive, bool head_only = false);
    base::Task<void> say_goodbye();
    base::Task<bool> fill(std::size_t size);
    void limit(base::milliseconds);
    static base::Task<bool> invoke(Work);

    std::shared_ptr<Core> core_;
    Stream stream_;
    std::string peer_, network_;
    From from_;
    bool gone_ = false;
    bool in_site_ = false;  ///< a site's handler runs, which may read and write at once
    Phase phase_ = Phase::head;
    base::Clock::time_point deadline_ = base::Clock::time_point::max();
    base::Clock::time_point write_deadline_ = base::Clock::time_point::max();
    beast::flat_buffer buffer_;
    asio::cancellation_signal cancel_;
};

}  // namespace http
