#pragma once
#include <http/client_origin.hpp>
#include <mcp/oauth.hpp>

namespace mcp {

/// The Bearer challenge of a WWW-Authenticate field (RFC 6750, RFC 9728).
struct BearerChallenge {
    std::string error, scope, resource_metadata;
};
BearerChallenge parse_challenge(std::string_view www_authenticate);

std::set<std::string> scopes_in(std::string_view text);
std::string joined(std::set<std::string> const& scopes);

/// Requests to URLs that others named, within bounds.
class OAuthWeb {
  public:
    OAuthWeb(asio::io_context&, http::Url server, base::milliseconds limit);
    struct Document {
        unsigned status = 0;
        Json body;  ///< null: not JSON
    };
    Task<base::Result<Document>> get(std::string url);
    Task<base::Result<Document>> post(std::string url, std::string type, std::string body,
                                      std::string authorization);
    /// errc::denied: a URL that may not be used, e.g. plain http to elsewhere.
    base::Result<http::Url> allowed(std::string const& url) const;
    http::Url const& server() const { return server_; }

  private:
    Task<base::Result<Document>> exchange(http::OriginRequest request);
    http::Url server_;
    base::milliseconds limit_;
    bool server_is_local_;
    http::Origins origins_;
};

/// Where to get a token for the server.
struct AuthorizationPlan {
    std::string resource, issuer;
    std::string authorization_endpoint, token_endpoint, registration_endpoint;
    std::string revocation_endpoint;  ///< "": none, or one that may not be used
    std::set<std::string> resource_scopes, issuer_scopes, token_auth_methods;
    bool says_token_auth_methods = false, metadata_documents = false, sends_iss = false;
};
/// Protected resource metadata, then authorization server metadata. errc::denied names what does not hold.
Task<base::Result<AuthorizationPlan>> plan_authorization(OAuthWeb& web, BearerChallenge challenge);

}  // namespace mcp
