#include "oauth_discovery.hpp"

#include <base/timeout.hpp>

#include <algorithm>

namespace mcp {
namespace {

constexpr std::size_t kMaxDocumentBytes = 256 * 1024;
constexpr std::size_t kMaxScopes = 128;

bool private_v4(asio::ip::address_v4 address) {
    auto const bits = address.to_uint();
    auto const within = [bits](std::uint32_t net, int length) {
        return (bits >> (32 - length)) == (net >> (32 - length));
    };
    return within(0x00000000, 8) || within(0x0a000000, 8) || within(0x64400000, 10) ||
           within(0x7f000000, 8) || within(0xa9fe0000, 16) || within(0xac100000, 12) ||
           within(0xc0000000, 24) || within(0xc0a80000, 16) || within(0xc6120000, 15) ||
           within(0xe0000000, 3);
}

bool private_address(asio::ip::address const& address) {
    if (address.is_v4()) return private_v4(address.to_v4());
    auto const v6 = address.to_v6();
    auto const bytes = v6.to_bytes();
    if (v6.is_v4_mapped()) return private_v4(asio::ip::make_address_v4(asio::ip::v4_mapped, v6));
    return (bytes[0] & 0xe0) != 0x20;  // all global unicast addresses are in 2000::/3
}

bool local_host(std::string const& host) {
    boost::system::error_code ec;
    auto const address = asio::ip::make_address(host, ec);
    return ec ? host == "localhost" || host.ends_with(".localhost") : private_address(address);
}

base::Error refused(std::string why) { return base::error(base::errc::denied, std::move(why)); }

std::string member_text(Json const& object, char const* name) {
    auto const it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::set<std::string> member_strings(Json const& object, char const* name) {
    std::set<std::string> out;
    if (auto const it = object.find(name); it != object.end() && it->is_array())
        for (auto const& entry : *it)
            if (entry.is_string() && out.size() < kMaxScopes) out.insert(entry.get<std::string>());
    return out;
}

std::string without_slash(std::string text) {
    if (text.ends_with('/')) text.pop_back();
    return text;
}

/// The server is the resource, or below it.
bool covers(std::string const& resource, http::Url const& server) {
    auto const url = http::Url::parse(resource);
    if (!url || !url->same_origin(server)) return false;
    auto const path = without_slash(std::string(url->path()));
    auto const own = std::string(server.path());
    return own == path || own == path + '/' || own.starts_with(path + '/');
}

std::string well_known(http::Url const& url, std::string const& name) {
    return url.origin() + "/.well-known/" + name + without_slash(std::string(url.path()));
}

}  // namespace

BearerChallenge parse_challenge(std::string_view text) {
    BearerChallenge out;
    auto const space = [](char c) { return c == ' ' || c == '\t' || c == ','; };
    bool bearer = false;
    while (!text.empty()) {
        while (!text.empty() && space(text.front())) text.remove_prefix(1);
        auto const end = std::min(text.find_first_of(" \t,="), text.size());
        std::string name(text.substr(0, end));
        for (auto& c : name)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        text.remove_prefix(end);
        if (text.empty() || text.front() != '=') {
            if (!name.empty()) bearer = name == "bearer";  // another scheme begins
            if (name.empty() && !text.empty() && text.front() == '=') text.remove_prefix(1);
            continue;
        }
        text.remove_prefix(1);
        std::string value;
        if (text.starts_with('"')) {
            text.remove_prefix(1);
            while (!text.empty() && text.front() != '"') {
                if (text.front() == '\\' && text.size() > 1) text.remove_prefix(1);
                value += text.front();
                text.remove_prefix(1);
            }
            if (!text.empty()) text.remove_prefix(1);
        } else {
            auto const stop = std::min(text.find_first_of(" \t,"), text.size());
            value = text.substr(0, stop);
            text.remove_prefix(stop);
        }
        if (!bearer) continue;
        if (name == "error") out.error = value;
        if (name == "scope") out.scope = value;
        if (name == "resource_metadata") out.resource_metadata = value;
    }
    return out;
}

std::set<std::string> scopes_in(std::string_view text) {
    std::set<std::string> out;
    while (!text.empty() && out.size() < kMaxScopes) {
        auto const end = std::min(text.find(' '), text.size());
        if (end > 0) out.emplace(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

std::string joined(std::set<std::string> const& scopes) {
    std::string out;
    for (auto const& scope : scopes) out += (out.empty() ? "" : " ") + scope;
    return out;
}

OAuthWeb::OAuthWeb(asio::io_context& io, http::Url server, base::milliseconds limit)
    : server_(std::move(server)),
      limit_(limit),
      server_is_local_(local_host(server_.host)),
      origins_(io, [this] {
          http::OriginsOptions options;
          options.max_connections = 16;
          options.may_dial = [host = server_.host, local = server_is_local_](
                                 http::Url const& url, asio::ip::address const& address) {
              return local || url.host == host || !private_address(address);
          };
          return options;
      }()) {}

base::Result<http::Url> OAuthWeb::allowed(std::string const& text) const {
    auto url = http::Url::parse(text);
    if (!url) return url;
    if (!url->tls && !(server_is_local_ && local_host(url->host)))
        return refused("OAuth needs https, and " + url->origin() + " is plain http");
    if (!server_is_local_ && local_host(url->host) && url->host != server_.host)
        return refused("the server names " + url->origin() + ", a private address, for its OAuth");
    return url;
}

Task<base::Result<OAuthWeb::Document>> OAuthWeb::get(std::string text) {
    auto url = allowed(text);
    if (!url) co_return url.error();
    http::OriginRequest request;
    request.url = std::move(*url);
    auto fetching = exchange(std::move(request));
    co_return co_await std::move(fetching);
}

Task<base::Result<OAuthWeb::Document>> OAuthWeb::post(std::string text, std::string type, std::string body,
                                                      std::string authorization) {
    auto url = allowed(text);
    if (!url) co_return url.error();
    http::OriginRequest request;
    request.verb = boost::beast::http::verb::post;
    request.url = std::move(*url);
    request.fields.set("Content-Type", type);
    if (!authorization.empty()) request.fields.set("Authorization", authorization);
    request.body = std::move(body);
    auto fetching = exchange(std::move(request));
    co_return co_await std::move(fetching);
}

Task<base::Result<OAuthWeb::Document>> OAuthWeb::exchange(http::OriginRequest request) {
    request.fields.set("Accept", "application/json");
    auto sending = origins_.send(std::move(request), limit_);
    auto answer = co_await std::move(sending);
    if (!answer) co_return answer.error();
    auto reading = (*answer)->all(kMaxDocumentBytes, limit_);
    auto const body = co_await std::move(reading);
    if (!body) co_return body.error();
    Document out;
    out.status = (*answer)->status;
    base::JsonLimits const limits{kMaxDocumentBytes, 16};
    if (auto json = base::parse_json(*body, limits); json && json->is_object()) out.body = std::move(*json);
    co_return out;
}

namespace {

/// The first document that is there and is JSON.
Task<base::Result<OAuthWeb::Document>> first_of(OAuthWeb& web, std::vector<std::string> urls) {
    base::Error last = base::error(base::errc::not_found, "none of the well-known documents is there");
    for (auto const& url : urls) {
        auto getting = web.get(url);
        auto document = co_await std::move(getting);
        if (!document) {
            last = document.error();
        } else if (document->status == 200 && document->body.is_object()) {
            co_return std::move(*document);
        }
    }
    co_return last;
}

Task<base::Result<std::string>> find_issuer(OAuthWeb& web, BearerChallenge challenge,
                                            AuthorizationPlan& plan) {
    auto const& server = web.server();
    std::vector<std::string> urls;
    if (!challenge.resource_metadata.empty()) urls.push_back(challenge.resource_metadata);
    urls.push_back(well_known(server, "oauth-protected-resource"));
    urls.push_back(server.origin() + "/.well-known/oauth-protected-resource");
    auto finding = first_of(web, std::move(urls));
    auto const found = co_await std::move(finding);
    if (!found) {
        // 2025-03-26 knew no such metadata: the server's own origin is the issuer.
        if (!base::is(found.error(), base::errc::not_found)) co_return found.error();
        plan.resource = without_slash(server.text());
        co_return server.origin();
    }
    plan.resource = member_text(found->body, "resource");
    if (!covers(plan.resource, server))
        co_return refused("the protected resource metadata is of another resource, \"" +
                          base::to_utf8(plan.resource.substr(0, 200)) + '"');
    plan.resource_scopes = member_strings(found->body, "scopes_supported");
    auto const issuers = found->body.value("authorization_servers", Json::array());
    if (!issuers.is_array() || issuers.empty() || !issuers.front().is_string())
        co_return refused("the protected resource metadata names no authorization server");
    co_return issuers.front().get<std::string>();
}

}  // namespace

Task<base::Result<AuthorizationPlan>> plan_authorization(OAuthWeb& web, BearerChallenge challenge) {
    AuthorizationPlan plan;
    auto finding = find_issuer(web, std::move(challenge), plan);
    auto const issuer = co_await std::move(finding);
    if (!issuer) co_return issuer.error();
    plan.issuer = *issuer;
    auto const url = web.allowed(*issuer);
    if (!url) co_return url.error();
    std::vector<std::string> urls{well_known(*url, "oauth-authorization-server"),
                                  well_known(*url, "openid-configuration")};
    auto const path = without_slash(std::string(url->path()));
    if (!path.empty()) urls.push_back(url->origin() + path + "/.well-known/openid-configuration");
    auto getting = first_of(web, std::move(urls));
    auto const found = co_await std::move(getting);
    if (!found) co_return base::wrap(found.error(), "metadata of the authorization server " + url->origin());
    auto const& body = found->body;
    // An exact comparison (RFC 8414, 3.3): a document that speaks for another issuer is how mix-up attacks
    // begin.
    if (member_text(body, "issuer") != plan.issuer)
        co_return refused("the metadata of " + url->origin() + " is of another issuer, \"" +
                          base::to_utf8(member_text(body, "issuer").substr(0, 200)) + '"');
    if (!member_strings(body, "code_challenge_methods_supported").contains("S256"))
        co_return refused("the authorization server " + url->origin() + " does not offer PKCE with S256");
    plan.authorization_endpoint = member_text(body, "authorization_endpoint");
    plan.token_endpoint = member_text(body, "token_endpoint");
    plan.registration_endpoint = member_text(body, "registration_endpoint");
    for (auto const* endpoint :
         {&plan.authorization_endpoint, &plan.token_endpoint, &plan.registration_endpoint}) {
        if (endpoint->empty()) continue;
        if (auto const good = web.allowed(*endpoint); !good) co_return good.error();
    }
    if (plan.token_endpoint.empty())
        co_return refused("the authorization server " + url->origin() + " has no token endpoint");
    plan.revocation_endpoint = member_text(body, "revocation_endpoint");
    if (!plan.revocation_endpoint.empty() && !web.allowed(plan.revocation_endpoint)) plan.revocation_endpoint.clear();
    plan.issuer_scopes = member_strings(body, "scopes_supported");
    plan.says_token_auth_methods = body.contains("token_endpoint_auth_methods_supported");
    plan.token_auth_methods = member_strings(body, "token_endpoint_auth_methods_supported");
    plan.metadata_documents = body.value("client_id_metadata_document_supported", Json(false)) == true;
    plan.sends_iss = body.value("authorization_response_iss_parameter_supported", Json(false)) == true;
    co_return plan;
}

}  // namespace mcp
