#pragma once
#include "client_core.hpp"
#include <http/client_origin.hpp>

namespace mcp {

/// One server's origin, with what every request to it carries.
class HttpAccess {
  public:
    static base::Result<std::shared_ptr<HttpAccess>> make(asio::io_context&, HttpServer);

    using Fields = std::vector<std::pair<std::string, std::string>>;
    struct Got {
        std::unique_ptr<http::OriginAnswer> answer;
        bool sent = false;  ///< bytes may have left
    };
    /// Adds credentials, and asks for better ones when the server refuses them, which it does unseen.
    Task<Outcome<std::unique_ptr<http::OriginAnswer>>> send(boost::beast::http::verb verb, http::Url url,
                                                            Fields fields, std::string body,
                                                            base::milliseconds head_limit, bool* sent);
    http::Url const& url() const { return url_; }
    HttpServer const& server() const { return server_; }

  private:
    HttpAccess(asio::io_context& io, HttpServer server, http::Url url);
    HttpServer server_;
    http::Url url_;
    http::Origins origins_;
};

/// "text/event-stream", without parameters, in lower case.
std::string media_type(std::string_view content_type);

/// Streamable HTTP of both eras (2026-07-28 and 2025-11-25, basic/transports). `renew` opens a session anew,
/// legacy only.
std::unique_ptr<Link> streamable_link(ClientCore&, std::shared_ptr<HttpAccess>,
                                      std::function<Task<Outcome<bool>>()> renew);
/// HTTP+SSE of 2024-11-05: one GET stream down, POSTs to the endpoint that it names up.
std::unique_ptr<Link> sse_link(ClientCore&, std::shared_ptr<HttpAccess>);

}  // namespace mcp
