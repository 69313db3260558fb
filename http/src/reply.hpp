#pragma once
#include "connection.hpp"
#include "wire.hpp"
#include <http/site.hpp>

namespace http {

/// The answer to one request. Lives as long as its handler.
class HttpReply final : public Exchange {
  public:
    /// `body` is the request's, when the handler is to take it; else null.
    HttpReply(Connection&, unsigned version, bool head_only, bool keep_alive, Connection::BodyParser* body);

    /// A site's: the head that the handler sees, which outlives it, and whether the client waits to be asked for its body.
    void belongs_to(RequestHead const& request, bool expects) {
        request_ = &request;
        expects_ = expects;
    }

    base::Task<base::Status> send(Status, Fields, std::string body) override;
    base::Task<base::Status> begin(Status, Fields, std::optional<std::uint64_t> length) override;
    base::Task<base::Status> write(std::string bytes) override;
    base::Task<base::Status> finish() override;
    bool begun() const override { return state_ != State::fresh; }
    base::Task<base::Result<std::string>> receive() override;

    RequestHead const& request() const override { return *request_; }
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> upgrade(Fields) override;
    void close() override { connection_.abandon(); }

    bool head_only() const { return head_only_; }
    bool complete() const { return state_ == State::complete; }
    /// A body that nobody took to its end would be read as the next request.
    bool keep_alive() const { return keep_alive_ && (!body_ || body_->is_done()); }

  private:
    enum class State { fresh, sending, streaming, complete };

    Connection& connection_;
    unsigned version_;
    bool head_only_;
    bool keep_alive_;
    Connection::BodyParser* body_;
    RequestHead const* request_ = nullptr;
    bool expects_ = false;
    bool chunked_ = false;
    bool bodiless_ = false;              ///< HEAD, 204 and 304
    std::optional<std::uint64_t> left_;  ///< of a body whose length was said
    State state_ = State::fresh;
};

}  // namespace http
