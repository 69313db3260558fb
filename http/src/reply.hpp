#pragma once
#include "connection.hpp"
#include "wire.hpp"

namespace http {

/// The answer to one request. Lives as long as its handler.
class HttpReply final : public Reply {
  public:
    HttpReply(Connection&, unsigned version, bool head_only, bool keep_alive);

    base::Task<base::Status> send(Status, Fields, std::string body) override;
    base::Task<base::Status> begin(Status, Fields) override;
    base::Task<base::Status> write(std::string bytes) override;
    base::Task<base::Status> finish() override;
    bool begun() const override { return state_ != State::fresh; }

    bool complete() const { return state_ == State::complete; }
    bool keep_alive() const { return keep_alive_; }

  private:
    enum class State { fresh, sending, streaming, complete };

    Connection& connection_;
    unsigned version_;
    bool head_only_;
    bool keep_alive_;
    bool bodiless_ = false;  ///< HEAD, 204 and 304
    State state_ = State::fresh;
};

}  // namespace http
