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
    /// In place of the one before, durable when it returns: a refresh token that was used is good for nothing.
    virtual Task<base::Status> save(base::Secret record) = 0;
    /// Where a browser shall be sent back to. `last` is what was registered before, "" for nothing: the same again
    /// saves a registration. An error when nobody will come back now; nothing was registered or asked for then.
    virtual Task<base::Result<std::string>> redirect_uri(std::string last) = 0;
    /// Gives the operator a URL to open in a browser, and waits for where it is sent back to: the whole URL,
    /// beginning with what `redirect_uri` gave.
    virtual Task<base::Result<std::string>> authorize(std::string url) = 0;
};

struct OAuthOptions {
    std::string client_name = "berth";
    std::string client_metadata_url;  ///< https URL of our Client ID Metadata Document; "" = none
    std::string client_id;            ///< registered beforehand; "" = not
    base::Secret client_secret;
    std::string issuer;  ///< the only one that `client_id` is for; "" = whichever the server names
    bool client_credentials = false;  ///< no user: needs client_id and client_secret
    bool offline = true;              ///< ask for offline_access where the authorization server has it
    std::string scope;                ///< always asked for, instead of what the server's metadata lists
    bool anew = false;                ///< the record's tokens are not used: somebody else may log in
    base::milliseconds request_limit{30'000};
};

/// What of a record no log and no answer may show.
std::vector<base::Secret> oauth_secrets(base::Secret const& record);

/// OAuth 2.1 as a client (2026-07-28, basic/authorization): protected resource metadata, authorization server
/// metadata (RFC 8414, OpenID), a client id given, by metadata document or registered, PKCE, resource
/// indicators, `iss`, refresh and wider scopes when asked. Credentials belong to the issuer that gave them.
/// Every URL that the server or the authorization server names is hostile: https, and no private address,
/// unless the MCP server itself is on one. A record is of one `server_url`: that of another is not used.
std::shared_ptr<Authorization> oauth(asio::io_context&, std::string server_url, OAuthOptions,
                                     std::shared_ptr<OAuthHost>);

/// Ends the tokens of a record at the authorization server that gave them (RFC 7009). False when it offers no such thing, or the
/// record holds none of this server. errc::denied or errc::unavailable: they may still be good.
Task<base::Result<bool>> revoke_tokens(asio::io_context&, std::string server_url, OAuthOptions, base::Secret record);

}  // namespace mcp
