#pragma once
#include "endpoint.hpp"
#include "legacy_http.hpp"
#include "message.hpp"

namespace mcp {

/// The MCP endpoint over HTTP: finds the era, checks what a modern request's fields say, and answers with
/// JSON or events.
class StreamableHttp : public std::enable_shared_from_this<StreamableHttp> {
  public:
    explicit StreamableHttp(std::shared_ptr<Endpoint> endpoint)
        : endpoint_(std::move(endpoint)), legacy_(endpoint_) {}
    Task<void> handle(http::Request request, http::Reply& reply);
    void stop() { legacy_.stop(); }

  private:
    Task<void> post(http::Request request, http::Reply& reply);
    Task<void> modern(http::Request request, http::Reply& reply, Message message, Caller caller);

    std::shared_ptr<Endpoint> endpoint_;
    LegacyHttp legacy_;
};

}  // namespace mcp
