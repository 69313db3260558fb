#include "client_fixture.hpp"
#include <http/server.hpp>
#include <mcp/oauth.hpp>

using namespace client_test;

namespace {

/// An MCP server and its authorization server on one loopback port. A test bends what they say.
struct Idp {
    Idp() : server(io.context, gate(), {}, {route()}) {
        port = server.listen("127.0.0.1", 0).value().port();
        origin = "http://127.0.0.1:" + std::to_string(port);
        resource = {{"resource", origin + "/mcp"},
                    {"authorization_servers", {origin}},
                    {"scopes_supported", {"read"}}};
        metadata = {{"issuer", origin},
                    {"authorization_endpoint", origin + "/authorize"},
                    {"token_endpoint", origin + "/token"},
                    {"registration_endpoint", origin + "/register"},
                    {"code_challenge_methods_supported", {"S256"}},
                    {"token_endpoint_auth_methods_supported", {"none"}},
                    {"authorization_response_iss_parameter_supported", true}};
        token = {{"access_token", "t-1"},
                 {"token_type", "Bearer"},
                 {"expires_in", 3600},
                 {"refresh_token", "r-1"}};
    }
    ~Idp() { io.run(server.stop(base::milliseconds(0))); }

    static http::GateOptions gate() {
        http::GateOptions out;
        out.hosts = {"127.0.0.1"};
        return out;
    }
    http::Route route() {
        http::Route out;
        out.path = "/*";
        out.verbs = {http::Verb::get, http::Verb::post};
        out.access = http::Access::open;
        out.max_body = 1 << 20;
        out.handler = [this](http::Request request, http::Reply& reply) -> Task<void> {
            Json body;
            auto status = http::Status::ok;
            asked.push_back(request.path);
            if (request.path == "/.well-known/oauth-protected-resource/mcp") {
                body = resource;
            } else if (request.path == "/.well-known/oauth-authorization-server") {
                body = metadata;
            } else if (request.path == "/register") {
                body = {{"client_id", "c-1"}};
                status = http::Status::created;
            } else if (request.path == "/token") {
                forms.push_back(request.body);
                body = token;
                if (token.contains("error")) status = http::Status::bad_request;
                if (token_away) status = http::Status::service_unavailable;
            } else if (request.path == "/revoke") {
                revoked.push_back(request.body);
                if (token_away) status = http::Status::service_unavailable;
            } else {
                status = http::Status::not_found;
            }
            http::Fields fields;
            fields.set("Content-Type", "application/json");
            auto text = base::dump(body);
            co_await reply.send(status, std::move(fields), std::move(text));
        };
        return out;
    }
    bool was_asked(std::string const& path) const {
        return std::find(asked.begin(), asked.end(), path) != asked.end();
    }

    testing_support::Io io;
    http::Server server;
    std::uint16_t port = 0;
    std::string origin;
    Json resource, metadata, token;
    std::vector<std::string> asked, forms, revoked;
    bool token_away = false;
};

constexpr char kBack[] = "http://127.0.0.1:1/callback";

struct Operator final : mcp::OAuthHost {
    Task<base::Result<base::Secret>> load() override { co_return base::Secret(record); }
    Task<base::Status> save(base::Secret value) override {
        record = value.reveal();
        co_return base::Status();
    }
    Task<base::Result<std::string>> redirect_uri(std::string last) override {
        lasts.push_back(last);
        if (away) co_return base::error(base::errc::denied, "nobody is here");
        co_return back_to;
    }
    Task<base::Result<std::string>> authorize(std::string url) override {
        urls.push_back(url);
        auto const at = url.find("state=") + 6;
        state = url.substr(at, url.find('&', at) - at);
        auto back = answer;
        if (auto const mark = back.find("STATE"); mark != back.npos) back.replace(mark, 5, state);
        co_return back;
    }
    std::string record, state, answer, back_to = kBack;
    std::vector<std::string> urls, lasts;
    bool away = false;
};

struct Flow {
    Flow() {
        host->answer = std::string(kBack) + "?code=abc&state=STATE&iss=" + idp.origin;
        connect();
    }
    void connect(std::string url = "") {
        authorization = mcp::oauth(idp.io.context, url.empty() ? idp.origin + "/mcp" : url, options, host);
    }
    base::Result<bool> challenge(int status = 401, std::string field = "Bearer") {
        return idp.io.run(authorization->challenged(status, std::move(field)));
    }
    std::string token() { return idp.io.run(authorization->token()).value().reveal(); }

    Idp idp;
    mcp::OAuthOptions options;
    std::shared_ptr<Operator> host = std::make_shared<Operator>();
    std::shared_ptr<mcp::Authorization> authorization;
};

}  // namespace

TEST_CASE("a token is got with PKCE for this resource, kept, and used again after a restart") {
    Flow flow;
    CHECK(flow.token() == "");
    auto const got = flow.challenge();
    REQUIRE_MESSAGE(got.has_value(), got.error().message());
    CHECK(*got);
    CHECK(flow.token() == "t-1");
    auto const& url = flow.host->urls.at(0);
    for (auto const* part :
         {"code_challenge_method=S256", "client_id=c-1", "scope=read", "resource=http%3A%2F%2F127.0.0.1"})
        CHECK_MESSAGE(url.find(part) != std::string::npos, part);
    auto const& form = flow.idp.forms.at(0);
    for (auto const* part :
         {"grant_type=authorization_code", "code=abc", "code_verifier=", "resource=", "client_id=c-1"})
        CHECK_MESSAGE(form.find(part) != std::string::npos, part);
    flow.connect();
    CHECK(flow.token() == "t-1");
    // The next 401 is met with the refresh token, without the operator.
    flow.idp.token["access_token"] = "t-2";
    REQUIRE(flow.challenge().has_value());
    CHECK(flow.token() == "t-2");
    CHECK(flow.host->urls.size() == 1);
    CHECK(flow.idp.forms.back().find("refresh_token=r-1") != std::string::npos);
}

TEST_CASE("wider scopes are asked for once, together with those before") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    CHECK_FALSE(flow.challenge(403, "Bearer error=\"invalid_token\"").value());
    CHECK(flow.challenge(403, "Bearer error=\"insufficient_scope\", scope=\"write\"").value());
    CHECK(flow.host->urls.at(1).find("scope=read%20write") != std::string::npos);
    CHECK_FALSE(flow.challenge(403, "Bearer error=\"insufficient_scope\", scope=\"write\"").value());
    CHECK(flow.host->urls.size() == 2);
}

TEST_CASE("rights that were missing while nobody was there are asked for at the next login") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    flow.host->away = true;
    CHECK_FALSE(flow.challenge(403, "Bearer error=\"insufficient_scope\", scope=\"write\"").has_value());
    flow.host->away = false;
    flow.options.anew = true;
    flow.connect();
    REQUIRE(flow.challenge(401, "Bearer scope=\"read\"").has_value());
    CHECK(flow.host->urls.back().find("scope=read%20write") != std::string::npos);
    CHECK(flow.host->record.find("wanted") == std::string::npos);
}

TEST_CASE("what does not hold is refused before a secret leaves") {
    struct Bend {
        char const* what;
        std::function<void(Flow&)> how;
        char const* why;
        bool token_asked = false;
    };
    auto const back = [](std::string text) {
        return [text](Flow& f) { f.host->answer = std::string(kBack) + text; };
    };
    std::vector<Bend> const bends{
        {"another resource", [](Flow& f) { f.idp.resource["resource"] = "https://other.example/mcp"; },
         "another resource"},
        {"a resource beside", [](Flow& f) { f.idp.resource["resource"] = f.idp.origin + "/mc"; },
         "another resource"},
        {"no authorization server", [](Flow& f) { f.idp.resource["authorization_servers"] = Json::array(); },
         "names no authorization server"},
        {"plain http elsewhere",
         [](Flow& f) { f.idp.resource["authorization_servers"] = {"http://idp.example"}; }, "plain http"},
        {"another issuer", [](Flow& f) { f.idp.metadata["issuer"] = f.idp.origin + "/"; }, "another issuer"},
        {"no PKCE", [](Flow& f) { f.idp.metadata.erase("code_challenge_methods_supported"); }, "PKCE"},
        {"plain PKCE", [](Flow& f) { f.idp.metadata["code_challenge_methods_supported"] = {"plain"}; },
         "PKCE"},
        {"a script for a page",
         [](Flow& f) { f.idp.metadata["authorization_endpoint"] = "javascript:alert(1)"; }, "URL"},
        {"a token endpoint on plain http",
         [](Flow& f) { f.idp.metadata["token_endpoint"] = "http://x.example/t"; }, "plain http"},
        {"another state", back("?code=abc&state=zzz"), "not to our question"},
        {"no state", back("?code=abc"), "not to our question"},
        {"iss of another", back("?code=abc&state=STATE&iss=https://evil.example"), "another issuer"},
        {"iss left out", back("?code=abc&state=STATE"), "another issuer"},
        {"two codes", back("?code=abc&code=abd&state=STATE"), "ambiguous"},
        {"another address",
         [](Flow& f) { f.host->answer = "http://127.0.0.1:2/callback?code=abc&state=STATE"; },
         "another address"},
        {"a refusal",
         [](Flow& f) {
             f.host->answer = std::string(kBack) + "?error=access_denied&state=STATE&iss=" + f.idp.origin;
         },
         "access_denied"},
        {"a token of another kind", [](Flow& f) { f.idp.token["token_type"] = "mac"; }, "no bearer token",
         true},
        {"a token with a line break", [](Flow& f) { f.idp.token["access_token"] = "a\r\nX: y"; },
         "cannot be sent", true},
        {"an error for a token",
         [](Flow& f) {
             f.idp.token = {{"error", "invalid_grant"}};
         },
         "invalid_grant", true},
    };
    for (auto const& bend : bends) {
        CAPTURE(bend.what);
        Flow flow;
        bend.how(flow);
        auto const got = flow.challenge();
        REQUIRE_FALSE(got.has_value());
        CHECK_MESSAGE(got.error().message().find(bend.why) != std::string::npos, got.error().message());
        CHECK(flow.token() == "");
        CHECK(flow.idp.was_asked("/token") == bend.token_asked);
    }
}

TEST_CASE("a server outside cannot have its OAuth look into private networks") {
    Flow flow;
    flow.connect("https://mcp.example/mcp");
    for (auto const* inside : {"http://127.0.0.1:1/x", "https://127.0.0.1:1/x", "https://localhost/x",
                               "https://169.254.169.254/latest", "https://10.1.2.3/", "https://[::1]/",
                               "https://[::ffff:127.0.0.1]/"}) {
        CAPTURE(inside);
        auto const got = flow.challenge(401, std::string("Bearer resource_metadata=\"") + inside + '"');
        CHECK_FALSE(got.has_value());
    }
    CHECK(flow.idp.asked.empty());
}

TEST_CASE("credentials of one issuer are not shown to another") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    auto record = base::parse_json(flow.host->record).value();
    record["tokens"]["issuer"] = "https://before.example";
    record["clients"] = {{"https://before.example", {{"client_id", "old"}, {"redirect_uri", kBack}}}};
    flow.host->record = base::dump(record);
    flow.idp.forms.clear();
    flow.idp.asked.clear();
    flow.connect();
    REQUIRE(flow.challenge().has_value());
    CHECK(flow.idp.was_asked("/register"));
    REQUIRE(flow.idp.forms.size() == 1);
    CHECK(flow.idp.forms[0].find("r-1") == std::string::npos);
    CHECK(flow.idp.forms[0].find("client_id=c-1") != std::string::npos);
}

TEST_CASE("with nobody at a browser, nothing is registered, and what was granted is still renewed") {
    Flow flow;
    flow.host->away = true;
    auto const refused = flow.challenge();
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message().find("nobody is here") != std::string::npos);
    CHECK_FALSE(flow.idp.was_asked("/register"));
    flow.host->away = false;
    REQUIRE(flow.challenge().has_value());
    flow.host->away = true;
    flow.connect();
    flow.idp.token["access_token"] = "t-2";
    CHECK(flow.challenge().value());
    CHECK(flow.token() == "t-2");
    // The authorization server's own trouble is not the operator's.
    flow.idp.token_away = true;
    auto const away = flow.challenge();
    REQUIRE_FALSE(away.has_value());
    CHECK(base::is(away.error(), base::errc::unavailable));
    flow.idp.token_away = false;
    flow.idp.token = {{"error", "invalid_grant"}};
    auto const over = flow.challenge();
    REQUIRE_FALSE(over.has_value());
    CHECK(over.error().message().find("nobody is here") != std::string::npos);
}

TEST_CASE("another way back is registered anew, and the last one is offered again") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    flow.options.anew = true;
    flow.connect();
    CHECK(flow.token() == "");
    flow.host->back_to = "http://127.0.0.1:2/callback";
    flow.host->answer = flow.host->back_to + "?code=abc&state=STATE&iss=" + flow.idp.origin;
    REQUIRE(flow.challenge().has_value());
    CHECK(flow.host->lasts == std::vector<std::string>{"", kBack});
    CHECK(std::count(flow.idp.asked.begin(), flow.idp.asked.end(), "/register") == 2);
    CHECK(flow.host->urls.at(1).find("127.0.0.1%3A2") != std::string::npos);
}

TEST_CASE("a record is for the address that it was made for") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    flow.connect(flow.idp.origin + "/other");
    CHECK(flow.token() == "");
}

TEST_CASE("the scopes that the operator names are asked for instead of all") {
    Flow flow;
    flow.options.scope = "mine";
    flow.connect();
    REQUIRE(flow.challenge().has_value());
    CHECK(flow.host->urls.at(0).find("scope=mine") != std::string::npos);
}

TEST_CASE("what a record hides is known") {
    Flow flow;
    REQUIRE(flow.challenge().has_value());
    auto const hidden = mcp::oauth_secrets(base::Secret(flow.host->record));
    REQUIRE(hidden.size() == 2);
    CHECK(hidden[0].reveal() == "t-1");
    CHECK(hidden[1].reveal() == "r-1");
    CHECK(mcp::oauth_secrets(base::Secret("no JSON")).empty());
}

TEST_CASE("oauth: revocation") {
    Idp idp;
    Json record = {{"server", idp.origin + "/mcp"},
                   {"tokens", {{"issuer", idp.origin}, {"access_token", "t-1"}, {"refresh_token", "r-1"}}},
                   {"clients", {{idp.origin, {{"client_id", "c-1"}, {"token_endpoint_auth_method", "none"}}}}}};
    auto const revoke = [&] {
        return idp.io.run(mcp::revoke_tokens(idp.io.context, idp.origin + "/mcp", {}, base::Secret(base::dump(record))));
    };
    idp.metadata["revocation_endpoint"] = idp.origin + "/revoke";

    SUBCASE("asks for the refresh token and the access token, as the client that they were given to") {
        CHECK(revoke().value());
        CHECK(idp.revoked == std::vector<std::string>{"token=r-1&token_type_hint=refresh_token&client_id=c-1",
                                                      "token=t-1&token_type_hint=access_token&client_id=c-1"});
        CHECK(idp.forms.empty());
        CHECK_FALSE(idp.was_asked("/register"));
    }
    SUBCASE("is none where it is not offered, or offered in the clear at another place") {
        idp.metadata.erase("revocation_endpoint");
        CHECK_FALSE(revoke().value());
        idp.metadata["revocation_endpoint"] = "http://login.example.com/revoke";
        CHECK_FALSE(revoke().value());
        CHECK(idp.revoked.empty());
    }
    SUBCASE("shows a token to nobody but its issuer, and one server's to no other") {
        record["tokens"]["issuer"] = "https://login.example.com";
        CHECK(is(revoke().error(), base::errc::denied));
        record["tokens"]["issuer"] = idp.origin;
        record["server"] = "https://mcp.example.com/mcp";
        CHECK_FALSE(revoke().value());
        CHECK(idp.revoked.empty());
    }
    SUBCASE("that fails says that the tokens may still be good") {
        idp.token_away = true;
        CHECK(is(revoke().error(), base::errc::unavailable));
    }
}
