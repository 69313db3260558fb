#pragma once
#include <mcp/client.hpp>

namespace mcp {

/// What the program around provides for one server's OAuth. Threads: the I/O thread.
class OAuthHost {
  public:
    virtual ~OAuthHost() = default;
    /// The record that `save` kept for this server, "" when there is none. It holds tokens and client
    /// secrets.
    virtual Task<base::Result<base::Secret>> load() = 0;
    virtual Task<base::Status> save(base::Secret record) = 0;
    /// Gives the operator a URL to open in a browser, and waits for where it is sent back to: the whole URL,
    /// beginning with OAuthOptions::redirect_uri. An error (errc::denied, with the URL in it) when nobody
    /// will come back now.
    virtual Task<base::Result<std::string>> authorize(std::string url) = 0;
};

struct OAuthOptions {
    std::string redirect_uri = "http://127.0.0.1/callback";  ///< registered with the authorization server
    std::string client_name = "berth";
    std::string client_metadata_url;  ///< https URL of our Client ID Metadata Document; "" = none
    std::string client_id;            ///< registered beforehand; "" = not
    base::Secret client_secret;
    std::string issuer;  ///< the only one that `client_id` is for; "" = whichever the server names
    bool client_credentials = false;  ///< no user: needs client_id and client_secret
    bool offline = true;              ///< ask for offline_access where the authorization server has it
    base::milliseconds request_limit{30'000};
};

/// OAuth 2.1 as a client (2026-07-28, basic/authorization): protected resource metadata, authorization server
/// metadata (RFC 8414, OpenID), a client id given, by metadata document or registered, PKCE, resource
/// indicators, `iss`, refresh and wider scopes when asked. Credentials belong to the issuer that gave them.
/// Every URL that the server or the authorization server names is hostile: https, and no private address,
/// unless the MCP server itself is on one.
std::shared_ptr<Authorization> oauth(asio::io_context&, std::string server_url, OAuthOptions,
                                     std::shared_ptr<OAuthHost>);

}  // namespace mcp
