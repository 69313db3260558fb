#include "entry.hpp"

#include <algorithm>

// The keys of an entry that say how to log in to a server reached by URL.
namespace config::servers_json {
namespace {

using Reader = std::function<void(EntryReader&, JsonNode const&, std::string const&)>;

Reader login_text(std::string ServerEntry::OAuth::*member) {
    return [member](EntryReader& r, JsonNode const& node, std::string const& key) {
        r.entry.oauth.*member = r.text(node, key);
    };
}

void read_grant(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const text = r.text(node, key);
    if (text != "authorization_code" && text != "client_credentials")
        return r.mistake(node.line, key,
                         "expected authorization_code or client_credentials, not \"" + text.substr(0, 60) + '"');
    r.entry.oauth.client_credentials = text == "client_credentials";
}

/// A list, or one string with spaces between, as in the protocol.
void read_scopes(EntryReader& r, JsonNode const& node, std::string const& key) {
    auto const given = node.is(JsonNode::Kind::string) ? std::vector<std::string>{r.text(node, key)}
                                                       : r.texts(node, key);
    // RFC 6749, 3.3: visible ASCII without quotation mark and backslash.
    auto const good = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
    for (auto const& text : given) {
        if (!std::all_of(text.begin(), text.end(), good))
            return r.mistake(node.line, key, "expected scopes of visible ASCII characters");
        for (std::size_t at = 0; at < text.size();) {
            auto const end = std::min(text.find(' ', at), text.size());
            if (end > at) r.entry.oauth.scopes.push_back(text.substr(at, end - at));
            at = end + 1;
        }
    }
}

void read_login_flag(EntryReader& r, JsonNode const& node, std::string const& key) {
    r.entry.oauth.enabled = r.flag(node, key);
}

void read_login_secret(EntryReader& r, JsonNode const& node, std::string const& key) {
    r.entry.oauth.client_secret = r.hidden(node, key, "CLIENT_SECRET");
}

void read_callback_port(EntryReader& r, JsonNode const& node, std::string const& key) {
    r.entry.oauth.callback_port = static_cast<int>(r.whole(node, key, 0, 65'535));
}

}  // namespace

std::vector<EntryKey> oauth_keys() {
    using OAuth = ServerEntry::OAuth;
    return {
        {"oauth.enabled",
         {"oauth"},
         "true, false",
         "true",
         "Whether to log in with OAuth where the server asks for it. An Authorization header of the entry's own goes "
         "before it. `berth servers login NAME` logs in.",
         read_login_flag},
        {"oauth.clientId",
         {"oauth.client_id", "auth.CLIENT_ID"},
         "id",
         "",
         "Client that was registered with the authorization server beforehand. Without it berth registers itself, or "
         "uses clientMetadataUrl.",
         login_text(&OAuth::client_id)},
        {"oauth.clientSecret",
         {"oauth.client_secret", "auth.CLIENT_SECRET"},
         "secret",
         "",
         "Secret of clientId, where it has one. Needs oauth.issuer, which alone is shown it.",
         read_login_secret},
        {"oauth.issuer",
         {},
         "address",
         "",
         "The only authorization server that clientId is for. When the server names another one, nothing is sent to it. "
         "A clientSecret needs it: else the server would say who is shown the secret.",
         login_text(&OAuth::issuer)},
        {"oauth.clientMetadataUrl",
         {},
         "https address",
         "",
         "Client ID Metadata Document that stands for this berth, where the authorization server takes one.",
         login_text(&OAuth::client_metadata_url)},
        {"oauth.scopes",
         {"oauth.scope", "auth.scopes"},
         "scopes",
         "what the server names",
         "Scopes to ask for.",
         read_scopes},
        {"oauth.grant",
         {},
         "authorization_code, client_credentials",
         "authorization_code",
         "client_credentials needs no user, but clientId, clientSecret and issuer.",
         read_grant},
        {"oauth.callbackPort",
         {},
         "TCP port",
         "0",
         "Port of 127.0.0.1 that the browser comes back to at a login. 0 takes a free one, which authorization servers "
         "have to accept for such addresses.",
         read_callback_port},
    };
}

}  // namespace config::servers_json
