#include "endpoint.hpp"
#include "stdio.hpp"
#include "streamable_http.hpp"
#include <mcp/server.hpp>

namespace mcp {

struct Server::Impl {
    Impl(asio::io_context& io, Features features, ServerOptions options)
        : endpoint(std::make_shared<Endpoint>(io, std::move(features), options)),
          http(std::make_shared<StreamableHttp>(endpoint)) {}
    std::shared_ptr<Endpoint> endpoint;
    std::shared_ptr<StreamableHttp> http;
};

Server::Server(asio::io_context& io, Features features, ServerOptions options)
    : impl_(std::make_unique<Impl>(io, std::move(features), options)) {}
Server::~Server() = default;

Hub& Server::hub() { return impl_->endpoint->listeners; }

Task<void> Server::serve_stdio(int in, int out, Caller caller) {
    co_await mcp::serve_stdio(impl_->endpoint, in, out, std::move(caller));
}

http::Handler Server::http_handler() {
    // The coroutines take what they use along: a request may still be ending when the server goes.
    return [http = impl_->http](http::Request request, http::Reply& reply) {
        return http->handle(std::move(request), reply);
    };
}

std::shared_ptr<Tool const> Server::tool(std::string const& name, Caller const& caller) const {
    return impl_->endpoint->find_tool(name, caller);
}

Task<void> Server::stop() {
    auto const endpoint = impl_->endpoint;
    auto const http = impl_->http;
    http->stop();
    co_await endpoint->stop();
}

}  // namespace mcp
