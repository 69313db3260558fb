#include "oauth_discovery.hpp"
#include <base/hash.hpp>
#include <base/ids.hpp>
#include <base/timeout.hpp>

#include <boost/beast/core/string.hpp>

#include <algorithm>
#include <chrono>
#include <map>

namespace mcp {
namespace {

constexpr std::int64_t kEarly = 30;  // seconds before its end that a token is renewed

std::int64_t now_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

base::Error denied(std::string why) { return base::error(base::errc::denied, std::move(why)); }

std::string kept(Json const& object, char const* name) {
    auto const it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

using Form = std::vector<std::pair<std::string, std::string>>;

std::string encoded(Form const& form) {
    std::string out;
    for (auto const& [name, value] : form)
        out += (out.empty() ? "" : "&") + http::percent_encode(name) + '=' + http::percent_encode(value);
    return out;
}

/// What a redirect brought. A parameter that is there twice makes the whole invalid.
std::optional<std::map<std::string, std::string>> parameters(std::string_view query) {
    std::map<std::string, std::string> out;
    auto const decoded = [](std::string_view text) {
        std::string plain;
        auto const digit = [](char c) {
            return c >= '0' && c <= '9'                 ? c - '0'
                   : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                        : -1;
        };
        for (std::size_t i = 0; i < text.size(); ++i) {
            bool const escape =
                text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
            if (escape) {
                plain += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
                i += 2;
            } else {
                plain += text[i] == '+' ? ' ' : text[i];
            }
        }
        return plain;
    };
    while (!query.empty()) {
        auto const end = std::min(query.find('&'), query.size());
        auto const pair = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (pair.empty()) continue;
        auto const equals = std::min(pair.find('='), pair.size());
        auto const value = pair.substr(std::min(equals + 1, pair.size()));
        if (!out.emplace(decoded(pair.substr(0, equals)), decoded(value)).second) return std::nullopt;
    }
    return out;
}

std::string s256(std::string const& verifier) {
    auto const hex = base::sha256_hex(verifier);
    std::string raw;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        raw += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return base::base64url_encode(raw);
}

class OAuth final : public Authorization {
  public:
    OAuth(asio::io_context& io, http::Url server, OAuthOptions options, std::shared_ptr<OAuthHost> host)
        : options_(std::move(options)),
          host_(std::move(host)),
          web_(io, std::move(server), options_.request_limit),
          free_(io, base::Clock::time_point::max()) {}

    Task<base::Result<base::Secret>> token() override {
        auto loading = load();
        if (auto const loaded = co_await std::move(loading); !loaded) co_return loaded.error();
        auto const& tokens = record_["tokens"];
        bool const old = tokens.value("expires_at", std::int64_t{0}) > 0 &&
                         tokens.value("expires_at", std::int64_t{0}) - kEarly < now_seconds();
        // An old one is sent all the same when it cannot be renewed here: the server's 401 says where to get
        // another.
        if (old && !kept(tokens, "refresh_token").empty() && !busy_) {
            Turn const turn(*this);
            auto refreshing = refresh_known();
            co_await std::move(refreshing);
        }
        co_return base::Secret(kept(record_["tokens"], "access_token"));
    }

    Task<base::Result<bool>> challenged(int status, std::string www_authenticate) override {
        auto const generation = generation_;
        while (busy_) co_await free_.async_wait(base::as_tuple);
        if (generation != generation_) co_return true;  // somebody got a new one meanwhile
        Turn const turn(*this);
        auto loading = load();
        if (auto const loaded = co_await std::move(loading); !loaded) co_return loaded.error();
        auto obtaining = obtain(status, parse_challenge(www_authenticate));
        co_return co_await std::move(obtaining);
    }

    Task<base::Result<bool>> revoke() {
        auto loading = load();
        if (auto const loaded = co_await std::move(loading); !loaded) co_return loaded.error();
        Json const tokens = record_["tokens"];
        if (kept(tokens, "access_token").empty() && kept(tokens, "refresh_token").empty()) co_return false;
        auto planning = plan_authorization(web_, BearerChallenge());
        auto const planned = co_await std::move(planning);
        if (!planned) co_return planned.error();
        auto const plan = *planned;
        if (plan.issuer != kept(tokens, "issuer"))
            co_return denied("the tokens are of " + kept(tokens, "issuer") + ", and the server now names " + plan.issuer);
        if (plan.revocation_endpoint.empty()) co_return false;
        auto registering = client_for(plan, std::string());
        auto const client = co_await std::move(registering);
        if (!client) co_return client.error();
        static constexpr char const* kKinds[] = {"refresh_token", "access_token"};  // the first may end the other with it
        for (auto const* kind : kKinds) {
            if (kept(tokens, kind).empty()) continue;
            Form form{{"token", kept(tokens, kind)}, {"token_type_hint", kind}};
            auto authorization = authenticate(plan, *client, form);
            auto posting = web_.post(plan.revocation_endpoint, "application/x-www-form-urlencoded", encoded(form),
                                     std::move(authorization));
            auto const answer = co_await std::move(posting);
            if (!answer) co_return base::wrap(answer.error(), "ask " + plan.issuer + " to revoke");
            if (answer->status != 200)
                co_return base::error(answer->status >= 500 ? base::errc::unavailable : base::errc::denied,
                                      "the authorization server " + plan.issuer + " did not revoke (HTTP " +
                                          std::to_string(answer->status) + ')');
        }
        co_return true;
    }

  private:
    /// One flow at a time.
    struct Turn {
        explicit Turn(OAuth& o) : oauth(o) { oauth.busy_ = true; }
        ~Turn() {
            oauth.busy_ = false;
            oauth.free_.cancel();
        }
        OAuth& oauth;
    };

    struct Registered {
        std::string id, secret, method;
    };

    Task<base::Result<bool>> load() {
        if (loaded_) co_return true;
        auto loading = host_->load();
        auto const stored = co_await std::move(loading);
        if (!stored) co_return stored.error();
        if (!stored->reveal().empty()) {
            auto parsed = base::parse_json(stored->reveal());
            if (!parsed || !parsed->is_object())
                co_return base::error(base::errc::corrupt, "the stored OAuth record cannot be read");
            // The operator may have given the server another address: what was granted for one is not shown to it.
            if (kept(*parsed, "server") == web_.server().text()) record_ = std::move(*parsed);
        }
        record_["server"] = web_.server().text();
        if (options_.anew) record_["tokens"] = Json::object();
        for (auto const* part : {"tokens", "clients"})
            if (!record_[part].is_object()) record_[part] = Json::object();
        loaded_ = true;
        co_return true;
    }

    Task<base::Result<bool>> save() {
        auto saving = host_->save(base::Secret(base::dump(record_)));
        auto const saved = co_await std::move(saving);
        if (!saved) co_return saved.error();
        co_return true;
    }

    Task<base::Result<bool>> obtain(int status, BearerChallenge challenge) {
        auto wanted = scopes_in(challenge.scope);
        auto const had = scopes_in(kept(record_["tokens"], "asked"));
        if (status == 403) {
            if (challenge.error != "insufficient_scope") co_return false;
            // Granted before and still not enough: asking the user again would not help.
            bool const more = std::any_of(wanted.begin(), wanted.end(),
                                          [&](auto const& scope) { return !had.contains(scope); });
            if (!more) co_return false;
        }
        auto planning = plan_authorization(web_, challenge);
        auto planned = co_await std::move(planning);
        if (!planned) co_return base::wrap(planned.error(), "the server wants a login");
        auto const plan = std::move(*planned);
        bool const same_issuer = kept(record_["tokens"], "issuer") == plan.issuer;
        if (status == 401 && same_issuer && !kept(record_["tokens"], "refresh_token").empty()) {
            auto refreshing = refresh(plan);
            auto const refreshed = co_await std::move(refreshing);
            if (refreshed && *refreshed) co_return true;
            // Nobody has to log in again because the authorization server is away.
            if (!refreshed && !base::is(refreshed.error(), base::errc::denied)) co_return refreshed.error();
        }
        if (wanted.empty() && status == 401 && options_.scope.empty()) wanted = plan.resource_scopes;
        for (auto const& text : {options_.scope, kept(record_, "wanted")}) wanted.merge(scopes_in(text));
        if (same_issuer) wanted.insert(had.begin(), had.end());
        if (options_.offline && !options_.client_credentials && plan.issuer_scopes.contains("offline_access"))
            wanted.insert("offline_access");

        std::string back_to;
        if (!options_.client_credentials) {
            auto opening = host_->redirect_uri(kept(known_client(plan), "redirect_uri"));
            auto opened = co_await std::move(opening);
            if (!opened && status == 403) {  // whoever logs in next is asked for it
                record_["wanted"] = joined(wanted);
                auto saving = save();
                co_await std::move(saving);
            }
            if (!opened) co_return opened.error();
            back_to = std::move(*opened);
        }
        auto registering = client_for(plan, back_to);
        auto client = co_await std::move(registering);
        if (!client) co_return client.error();
        auto const scope = joined(wanted);
        Form form;
        if (options_.client_credentials) {
            form.emplace_back("grant_type", "client_credentials");
            if (!scope.empty()) form.emplace_back("scope", scope);
        } else {
            auto asking = ask_user(plan, *client, scope, back_to, form);
            auto const asked = co_await std::move(asking);
            if (!asked) co_return asked.error();
        }
        auto requesting = request_token(plan, *client, std::move(form), scope);
        auto const got = co_await std::move(requesting);
        if (!got) co_return got.error();
        co_return true;
    }

    Json known_client(AuthorizationPlan const& plan) const {
        auto const it = record_["clients"].find(plan.issuer);
        return it != record_["clients"].end() && it->is_object() ? *it : Json::object();
    }

    /// Given beforehand, our metadata document, registered with this issuer before, or registered now. `back_to` "":
    /// the one that the tokens were given to, whatever it was registered for.
    Task<base::Result<Registered>> client_for(AuthorizationPlan const& plan, std::string back_to) {
        Registered out;
        if (!options_.client_id.empty()) {
            if (!options_.issuer.empty() && options_.issuer != plan.issuer)
                co_return denied("the client id is for " + options_.issuer + ", and the server now names " +
                                 plan.issuer);
            out.id = options_.client_id;
            out.secret = options_.client_secret.reveal();
            co_return out;
        }
        if (options_.client_credentials) co_return denied("client credentials need a client id and a secret");
        if (plan.metadata_documents && !options_.client_metadata_url.empty()) {
            out.id = options_.client_metadata_url;
            co_return out;
        }
        auto const known = known_client(plan);
        bool const fits = back_to.empty() || kept(known, "redirect_uri") == back_to;
        if (!kept(known, "client_id").empty() && fits) {
            out.id = kept(known, "client_id");
            out.secret = kept(known, "client_secret");
            out.method = kept(known, "token_endpoint_auth_method");
            co_return out;
        }
        if (back_to.empty()) co_return denied("the client that the tokens were given to is not known any more");
        if (plan.registration_endpoint.empty())
            co_return denied("the authorization server " + plan.issuer +
                             " registers no clients itself: configure a client id for it");
        Json request = Json::object();
        request["client_name"] = options_.client_name;
        request["redirect_uris"] = Json::array({back_to});
        request["grant_types"] = {"authorization_code", "refresh_token"};
        request["response_types"] = Json::array({"code"});
        request["application_type"] = "native";
        request["token_endpoint_auth_method"] = preferred_method(plan);
        auto body = base::dump(request);
        auto posting =
            web_.post(plan.registration_endpoint, "application/json", std::move(body), std::string());
        auto const answer = co_await std::move(posting);
        if (!answer) co_return base::wrap(answer.error(), "register with " + plan.issuer);
        if (answer->status >= 300 || kept(answer->body, "client_id").empty())
            co_return denied("the authorization server " + plan.issuer + " did not register us (HTTP " +
                             std::to_string(answer->status) + ')');
        out.id = kept(answer->body, "client_id");
        out.secret = kept(answer->body, "client_secret");
        out.method = kept(answer->body, "token_endpoint_auth_method");
        Json entry = Json::object();
        entry["client_id"] = out.id;
        entry["client_secret"] = out.secret;
        entry["token_endpoint_auth_method"] = out.method;
        entry["redirect_uri"] = back_to;
        record_["clients"][plan.issuer] = std::move(entry);
        auto saving = save();
        if (auto const saved = co_await std::move(saving); !saved) co_return saved.error();
        co_return out;
    }

    static std::string preferred_method(AuthorizationPlan const& plan) {
        for (auto const* method : {"none", "client_secret_basic", "client_secret_post"})
            if (plan.token_auth_methods.contains(method)) return method;
        return plan.says_token_auth_methods ? "none" : "client_secret_basic";  // RFC 8414's default
    }

    Task<base::Result<bool>> ask_user(AuthorizationPlan const& plan, Registered client, std::string scope,
                                      std::string back_to, Form& form) {
        if (plan.authorization_endpoint.empty())
            co_return denied("the authorization server " + plan.issuer + " has no authorization endpoint");
        auto const verifier = base::base64url_encode(base::random_bytes(32));
        auto const state = base::random_id();
        Form query{{"response_type", "code"}, {"client_id", client.id}, {"redirect_uri", back_to}};
        query.emplace_back("code_challenge", s256(verifier));
        query.emplace_back("code_challenge_method", "S256");
        query.emplace_back("state", state);
        query.emplace_back("resource", plan.resource);
        if (!scope.empty()) query.emplace_back("scope", scope);
        auto url = plan.authorization_endpoint;
        url += (url.find('?') == url.npos ? '?' : '&') + encoded(query);
        auto asking = host_->authorize(std::move(url));
        auto const came = co_await std::move(asking);
        if (!came) co_return came.error();
        if (!came->starts_with(back_to + '?'))
            co_return denied("the browser came back to another address than was registered");
        auto const back = parameters(std::string_view(*came).substr(back_to.size() + 1));
        if (!back) co_return denied("the authorization server's answer is ambiguous");
        auto const value = [&](char const* name) {
            auto const it = back->find(name);
            return it == back->end() ? std::string() : it->second;
        };
        if (!base::constant_time_equal(value("state"), state))
            co_return denied("the authorization server's answer is not to our question");
        // RFC 9207: the answer has to be of the issuer that was asked, compared as it stands.
        if ((plan.sends_iss || back->contains("iss")) && value("iss") != plan.issuer)
            co_return denied("the authorization was answered by another issuer than " + plan.issuer);
        if (back->contains("error"))
            co_return denied("the authorization was refused: " +
                             base::to_utf8(value("error").substr(0, 200)));
        if (value("code").empty()) co_return denied("the authorization server's answer has no code");
        form.emplace_back("grant_type", "authorization_code");
        form.emplace_back("code", value("code"));
        form.emplace_back("redirect_uri", back_to);
        form.emplace_back("code_verifier", verifier);
        co_return true;
    }

    Task<base::Result<bool>> refresh(AuthorizationPlan const& plan) {
        auto registering = client_for(plan, std::string());
        auto const client = co_await std::move(registering);
        if (!client) co_return client.error();
        Form form;
        form.emplace_back("grant_type", "refresh_token");
        form.emplace_back("refresh_token", kept(record_["tokens"], "refresh_token"));
        auto scope = kept(record_["tokens"], "asked");
        auto requesting = request_token(plan, *client, std::move(form), std::move(scope));
        co_return co_await std::move(requesting);
    }

    /// Without a challenge: at the issuer that gave it.
    Task<base::Result<bool>> refresh_known() {
        auto planning = plan_authorization(web_, BearerChallenge());
        auto const plan = co_await std::move(planning);
        if (!plan) co_return plan.error();
        if (plan->issuer != kept(record_["tokens"], "issuer")) co_return false;
        auto const copy = *plan;
        auto refreshing = refresh(copy);
        co_return co_await std::move(refreshing);
    }

    /// Who asks, as the authorization server wants it: the Authorization field, or more of the form.
    static std::string authenticate(AuthorizationPlan const& plan, Registered const& client, Form& form) {
        auto method = client.method;
        if (method.empty()) {
            auto const offers_method = [&](char const* name) {
                return plan.token_auth_methods.contains(name);
            };
            method = client.secret.empty()                  ? "none"
                     : !plan.says_token_auth_methods        ? "client_secret_basic"
                     : offers_method("client_secret_basic") ? "client_secret_basic"
                     : offers_method("client_secret_post")  ? "client_secret_post"
                                                            : "none";
        }
        if (method == "client_secret_basic")
            return "Basic " + base::base64_encode(http::percent_encode(client.id) + ':' +
                                                           http::percent_encode(client.secret));
        form.emplace_back("client_id", client.id);
        if (method == "client_secret_post") form.emplace_back("client_secret", client.secret);
        return {};
    }

    Task<base::Result<bool>> request_token(AuthorizationPlan const& plan, Registered client, Form form,
                                           std::string asked) {
        form.emplace_back("resource", plan.resource);
        auto authorization = authenticate(plan, client, form);
        bool const refreshing = form.front().second == "refresh_token";
        auto posting = web_.post(plan.token_endpoint, "application/x-www-form-urlencoded", encoded(form),
                                 std::move(authorization));
        auto const answer = co_await std::move(posting);
        if (!answer) co_return base::wrap(answer.error(), "ask " + plan.issuer + " for a token");
        auto const& body = answer->body;
        auto const access = body.is_object() ? kept(body, "access_token") : std::string();
        auto const type = body.is_object() ? kept(body, "token_type") : std::string();
        if (answer->status >= 300 || access.empty()) {
            bool const refused = answer->status >= 400 && answer->status < 500 && answer->status != 429;
            if (refreshing && refused) record_["tokens"].erase("refresh_token");
            auto const why = body.is_object() ? kept(body, "error") : std::string();
            // Its own trouble, or too many requests: another time it may give one.
            bool const away = answer->status >= 500 || answer->status == 429;
            co_return base::error(away ? base::errc::unavailable : base::errc::denied,
                                  "the authorization server " + plan.issuer + " gave no token (HTTP " +
                             std::to_string(answer->status) +
                             (why.empty() ? ")" : ", " + base::to_utf8(why.substr(0, 100)) + ')'));
        }
        if (!boost::beast::iequals(type, "bearer"))
            co_return denied("the authorization server " + plan.issuer +
                             " gave a token that is no bearer token");
        for (unsigned char const c : access)
            if (c <= 0x20 || c >= 0x7f)
                co_return denied("the authorization server " + plan.issuer +
                                 " gave a token that cannot be sent");
        Json tokens = Json::object();
        tokens["issuer"] = plan.issuer;
        tokens["access_token"] = access;
        tokens["asked"] = asked;
        auto const refresh_token = kept(body, "refresh_token");
        auto const old_refresh = refreshing ? kept(record_["tokens"], "refresh_token") : std::string();
        if (!refresh_token.empty() || !old_refresh.empty())
            tokens["refresh_token"] = refresh_token.empty() ? old_refresh : refresh_token;
        if (auto const it = body.find("expires_in"); it != body.end() && it->is_number_unsigned())
            tokens["expires_at"] = now_seconds() + static_cast<std::int64_t>(std::min<std::uint64_t>(
                                                       it->get<std::uint64_t>(), 1u << 30));
        record_["tokens"] = std::move(tokens);
        if (!refreshing) record_.erase("wanted");
        ++generation_;
        auto saving = save();
        co_return co_await std::move(saving);
    }

    OAuthOptions options_;
    std::shared_ptr<OAuthHost> host_;
    OAuthWeb web_;
    asio::steady_timer free_;
    Json record_ = Json::object();
    bool loaded_ = false, busy_ = false;
    unsigned generation_ = 0;
};

/// For a URL that cannot be used: says so instead of a token.
class NoOAuth final : public Authorization {
  public:
    explicit NoOAuth(base::Error why) : why_(std::move(why)) {}
    Task<base::Result<base::Secret>> token() override { co_return why_; }
    Task<base::Result<bool>> challenged(int, std::string) override { co_return why_; }

  private:
    base::Error why_;
};

/// A record that is at hand, and nobody at a browser.
class AtHand final : public OAuthHost {
  public:
    explicit AtHand(base::Secret record) : record_(std::move(record)) {}
    Task<base::Result<base::Secret>> load() override { co_return record_; }
    Task<base::Status> save(base::Secret) override { co_return base::Status(); }
    Task<base::Result<std::string>> redirect_uri(std::string) override { co_return denied("nobody is there to log in"); }
    Task<base::Result<std::string>> authorize(std::string) override { co_return denied("nobody is there to log in"); }

  private:
    base::Secret record_;
};

}  // namespace

std::vector<base::Secret> oauth_secrets(base::Secret const& record) {
    std::vector<base::Secret> out;
    auto const parsed = base::parse_json(record.reveal());
    if (!parsed || !parsed->is_object()) return out;
    auto const add = [&](Json const& object, char const* name) {
        if (auto value = object.is_object() ? kept(object, name) : ""; !value.empty())
            out.emplace_back(std::move(value));
    };
    auto const tokens = parsed->value("tokens", Json());
    add(tokens, "access_token");
    add(tokens, "refresh_token");
    for (auto const& client : parsed->value("clients", Json::object())) add(client, "client_secret");
    return out;
}

std::shared_ptr<Authorization> oauth(asio::io_context& io, std::string server_url, OAuthOptions options,
                                     std::shared_ptr<OAuthHost> host) {
    auto url = http::Url::parse(server_url);
    if (!url) return std::make_shared<NoOAuth>(url.error());
    return std::make_shared<OAuth>(io, std::move(*url), std::move(options), std::move(host));
}

Task<base::Result<bool>> revoke_tokens(asio::io_context& io, std::string server_url, OAuthOptions options,
                                       base::Secret record) {
    auto url = http::Url::parse(server_url);
    if (!url) co_return url.error();
    auto const login =
        std::make_shared<OAuth>(io, std::move(*url), std::move(options), std::make_shared<AtHand>(std::move(record)));
    auto revoking = login->revoke();
    co_return co_await std::move(revoking);
}

}  // namespace mcp
