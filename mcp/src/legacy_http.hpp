#pragma once
#include "message.hpp"
#include "sessions.hpp"

namespace mcp {

/// An error outside any stream, as JSON. `id` null = absent.
Task<void> refuse(http::Reply& reply, http::Status status, Json id, RpcError error);
Task<void> refuse(http::Reply& reply, http::Status status, Json id, int code, std::string message);

/// 2025-11-25 and older over HTTP: sessions, the GET stream, resuming, DELETE.
class LegacyHttp {
  public:
    explicit LegacyHttp(std::shared_ptr<Endpoint> endpoint)
        : endpoint_(std::move(endpoint)), sessions_(*endpoint_) {}
    Task<void> post(http::Request request, http::Reply& reply, Message message, Caller caller);
    Task<void> get(http::Request request, http::Reply& reply);
    Task<void> remove(http::Request request, http::Reply& reply);
    void stop() { sessions_.end_all(); }

  private:
    Task<void> initialize(http::Reply& reply, Message message, Caller caller);
    Task<void> call(std::shared_ptr<HttpSession> session, http::Reply& reply, Message message, Caller caller);
    /// Null after the refusal was sent: 400 without an id or with a bad version, 404 for one that is not the
    /// caller's.
    Task<std::shared_ptr<HttpSession>> session_of(http::Request const& request, http::Reply& reply, Json id);

    std::shared_ptr<Endpoint> endpoint_;
    Sessions sessions_;
};

}  // namespace mcp
