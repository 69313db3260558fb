#include "headers.hpp"

#include <base/hash.hpp>

#include <boost/beast/core/string.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <set>

namespace preview {
namespace {

using Field = boost::beast::http::field;

constexpr char const *kAskedMethod = "Access-Control-Request-Method", *kAskedHeaders = "Access-Control-Request-Headers";
constexpr std::size_t kMaxAsked = 2048;

std::string lowered(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        if (c == '_') c = '-';  // WSGI and CGI make one variable of X_Forwarded_For and X-Forwarded-For
    }
    return out;
}

std::string_view trimmed(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
    return s;
}

template <class Name, class Take>
void each_token(Fields const& fields, Name name, Take take) {
    auto const [from, to] = fields.equal_range(name);
    for (auto at = from; at != to; ++at) {
        std::string_view rest = at->value();
        while (!rest.empty()) {
            auto const comma = rest.find(',');
            auto const token = trimmed(rest.substr(0, comma));
            if (!token.empty()) take(token);
            rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
        }
    }
}

/// Between two hops: the fixed ones and those that Connection names (RFC 9110, 7.6.1).
class Hops {
  public:
    explicit Hops(Fields const& fields) {
        each_token(fields, Field::connection,
                   [this](std::string_view token) { named_.insert(lowered(token)); });
    }
    bool has(std::string const& name) const {
        static constexpr std::array<std::string_view, 10> fixed{"connection",
                                                                "keep-alive",
                                                                "proxy-connection",
                                                                "proxy-authenticate",
                                                                "proxy-authorization",
                                                                "te",
                                                                "trailer",
                                                                "transfer-encoding",
                                                                "upgrade",
                                                                "content-length"};
        if (std::find(fixed.begin(), fixed.end(), name) != fixed.end()) return true;
        // A client cannot have what identifies the request removed.
        if (name == "host" || name == "cookie") return false;
        return named_.count(name) > 0;
    }

  private:
    std::set<std::string> named_;  ///< ordered: a client chooses them
};

bool forwarding(std::string const& name) {
    return name == "forwarded" || name.starts_with("x-forwarded-") || name == "x-real-ip" ||
           name == "x-client-ip" || name == "true-client-ip" || name == "cf-connecting-ip" || name == "proxy" ||
           name == "x-original-url" || name == "x-rewrite-url" || name == "via" || name == "expect";
}

std::string cookies_for_app(std::string_view cookies) {
    std::string out;
    while (!cookies.empty()) {
        auto const semicolon = cookies.find(';');
        auto const pair = trimmed(cookies.substr(0, semicolon));
        auto const name = pair.substr(0, pair.find('='));
        if (!pair.empty() && !is_our_cookie(trimmed(name))) out.append(out.empty() ? "" : "; ").append(pair);
        cookies = semicolon == cookies.npos ? std::string_view() : cookies.substr(semicolon + 1);
    }
    return out;
}

}  // namespace

Fields fields_for_app(Fields const& from, Forwarded const& f) {
    Fields out;
    Hops const hops(from);
    auto const own = lowered(kTokenHeader);
    for (auto const& field : from) {
        auto const name = lowered(field.name_string());
        std::string_view const value = field.value();
        if (hops.has(name) || forwarding(name) || name == own) continue;
        if (name == "authorization" && f.authorization_is_ours) continue;
        if (name == "referer" && value.find(kLinkParameter) != value.npos) continue;
        if (name == "cookie") {
            if (auto const kept = cookies_for_app(value); !kept.empty()) out.insert(Field::cookie, kept);
            continue;
        }
        out.insert(field.name_string(), value);
    }
    std::string const host(from[Field::host]);
    auto const colon = host.rfind(':');
    out.set("X-Forwarded-For", f.peer.starts_with('[') ? f.peer.substr(1, f.peer.size() - 2) : f.peer);
    out.set("X-Forwarded-Proto", f.scheme);
    out.set("X-Forwarded-Host", host);
    out.set("X-Forwarded-Port",
            colon == host.npos ? (f.scheme == "https" ? "443" : "80") : host.substr(colon + 1));
    bool const v6 = f.peer.starts_with('[');
    out.set("Forwarded",
            "for=" + (v6 ? "\"" + f.peer + "\"" : f.peer) + ";host=\"" + host + "\";proto=" + f.scheme);
    if (f.upgrade) out.set(Field::upgrade, "websocket");
    return out;
}

std::optional<std::string> own_cookie(std::string_view text) {
    std::string out;
    for (bool first = true; !text.empty() || first; first = false) {
        auto const semicolon = text.find(';');
        auto const part = text.substr(0, semicolon);
        auto const name = trimmed(part.substr(0, part.find('=')));
        // Browsers send the cookie "=berth_preview=x" back as "berth_preview=x".
        if (first && (name.empty() || is_our_cookie(name))) return std::nullopt;
        // As it was written: nothing may grow beyond what a field can hold.
        if (first || (!name.empty() && !boost::beast::iequals(name, "domain")))
            out.append(first ? "" : ";").append(part);
        text = semicolon == text.npos ? std::string_view() : text.substr(semicolon + 1);
    }
    return out;
}

Fields fields_for_visitor(Fields const& from) {
    Fields out;
    // Cookies would go at all siblings below the suffix, ours too.
    std::string clear;
    each_token(from, "Clear-Site-Data", [&clear](std::string_view token) {
        if (boost::beast::iequals(token, "\"cookies\"") || clear.size() > 256) return;
        clear.append(clear.empty() ? "" : ", ").append(token == "\"*\"" ? "\"cache\", \"storage\"" : token);
    });
    Hops const hops(from);
    for (auto const& field : from) {
        auto const name = lowered(field.name_string());
        if (hops.has(name) || name == "alt-svc" || name == "clear-site-data") continue;
        if (name == "set-cookie" || name == "set-cookie2") {
            if (auto const kept = own_cookie(field.value())) out.insert(field.name_string(), *kept);
            continue;
        }
        out.insert(field.name_string(), field.value());
    }
    if (!clear.empty()) out.set("Clear-Site-Data", clear);
    return out;
}

Upgrade upgrade_of(http::RequestHead const& r) {
    bool asked = false, websocket = false;
    each_token(r.fields, Field::connection,
               [&](std::string_view t) { asked = asked || boost::beast::iequals(t, "upgrade"); });
    each_token(r.fields, Field::upgrade,
               [&](std::string_view t) { websocket = websocket || boost::beast::iequals(t, "websocket"); });
    if (!asked || !websocket) return Upgrade::none;
    std::string key;
    bool const whole =
        r.verb == http::Verb::get && r.version >= 11 && !r.has_body && r.fields.count(Field::upgrade) == 1 &&
        boost::beast::iequals(r.fields[Field::upgrade], "websocket") &&
        r.fields.count(Field::sec_websocket_key) == 1 && r.fields[Field::sec_websocket_version] == "13" &&
        base::base64_decode(r.fields[Field::sec_websocket_key], key) && key.size() == 16;
    return whole ? Upgrade::websocket : Upgrade::malformed;
}

std::string websocket_accept(std::string_view key) {
    std::string const text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455, 1.3
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1) return {};
    return base::base64_encode(std::string_view(reinterpret_cast<char const*>(digest.data()), size));
}

bool is_preflight(http::RequestHead const& r) {
    return r.verb == http::Verb::options && !r.has_body && r.fields.count(Field::origin) == 1 &&
           r.fields.count(kAskedMethod) == 1 && r.fields.count(kAskedHeaders) <= 1;
}

std::optional<Fields> preflight_answer(Fields const& request, std::string const& origin) {
    auto const plain = [](std::string_view text) {
        constexpr std::string_view others = "!#$%&'*+-.^_`|~, ";  // names (RFC 9110, 5.6.2), and what stands between them
        return text.size() <= kMaxAsked && std::all_of(text.begin(), text.end(), [&](char c) {
                   return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          others.find(c) != others.npos;
               });
    };
    std::string const method(request[kAskedMethod]), headers(request[kAskedHeaders]);
    if (method.empty() || !plain(method) || !plain(headers)) return std::nullopt;
    Fields out;
    let_read(out, origin);
    out.set("Access-Control-Allow-Methods", method);
    if (!headers.empty()) out.set("Access-Control-Allow-Headers", headers);
    out.set("Cache-Control", "no-store");
    out.set("Berth-Preview", "preflight");
    return out;
}

void let_read(Fields& answer, std::string const& origin) {
    answer.set("Access-Control-Allow-Origin", origin);
    answer.set("Access-Control-Allow-Credentials", "true");
    answer.set("Access-Control-Expose-Headers", "Berth-Preview");
    answer.set("Vary", "Origin");
}

Style style_of(Fields const& fields) {
    std::string_view const accept = fields[Field::accept];
    auto const html = accept.find("text/html");
    auto const json = std::min(accept.find("application/json"), accept.find("+json"));
    if (html != accept.npos && html < json) return Style::html;
    if (json != accept.npos) return Style::json;
    return Style::text;
}

}  // namespace preview
