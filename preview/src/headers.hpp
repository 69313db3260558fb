#pragma once
#include "access.hpp"
#include <http/site.hpp>

// What a preview's requests and answers carry across. Pure. Both sides are written anew from parsed fields,
// so that the next reader cannot see a request that we did not.
namespace preview {

/// What the program inside sees of a request: its fields without those between two hops, without our
/// credentials, and with forwarding fields that we alone write. Host stays as the visitor's browser sent it,
/// on upgrades too.
struct Forwarded {
    std::string peer;    ///< the visitor's address
    std::string scheme;  ///< "http" or "https", as visitors see it
    bool authorization_is_ours = false;
    bool upgrade = false;  ///< keeps the request for a WebSocket
};
Fields fields_for_app(Fields const&, Forwarded const&);

/// What the visitor sees of an answer: no fields between two hops, no cookie beyond this one host, none of
/// our name, no pointer to another server for the same origin.
Fields fields_for_visitor(Fields const&);

/// "a=1; Domain=.example.com; Path=/" without its Domain; nullopt for one that would take our cookie's name.
std::optional<std::string> own_cookie(std::string_view set_cookie);

/// Whether this asks for a WebSocket by RFC 6455. Other upgrades are not offered: their requests go on as
/// plain ones.
enum class Upgrade { none, websocket, malformed };
Upgrade upgrade_of(http::RequestHead const&);
/// The Sec-WebSocket-Accept that a key demands.
std::string websocket_accept(std::string_view key);

/// Whether a browser asks if a page of another origin may send a request (Fetch, 4.8): without credentials, always.
bool is_preflight(http::RequestHead const&);
/// Our own yes to such a question of a page at `origin`, with the page's credentials; nullopt when it is not well formed.
std::optional<Fields> preflight_answer(Fields const& request, std::string const& origin);
/// Lets a page at `origin` read this answer.
void let_read(Fields& answer, std::string const& origin);

/// What to write for a client: pages for browsers, JSON where it is asked for.
enum class Style { html, json, text };
Style style_of(Fields const&);

}  // namespace preview
