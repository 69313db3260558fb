#include "access.hpp"

#include <base/hash.hpp>

#include <boost/beast/core/string.hpp>

#include <charconv>
#include <vector>

namespace preview {
namespace {

constexpr std::string_view kMark = "bp1.";
constexpr std::string_view kSecureName = "__Host-berth_preview", kPlainName = "berth_preview";
constexpr std::size_t kMaxToken = 256, kMaxCookies = 8;

std::string mac(base::Secret const& key, Subject const& s, Kind kind, std::string_view expires) {
    std::string text = "preview\n";
    text += static_cast<char>(kind);
    text.append("\n")
        .append(s.preview)
        .append("\n")
        .append(std::to_string(s.version))
        .append("\n")
        .append(expires);
    return base::hmac_sha256(key.reveal(), text);
}

std::string_view trim(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
    return s;
}

}  // namespace

std::string_view cookie_name(bool secure) { return secure ? kSecureName : kPlainName; }
bool is_our_cookie(std::string_view name) { return name == kSecureName || name == kPlainName; }

std::string seal(base::Secret const& key, Subject const& subject, Kind kind, std::int64_t expires_s) {
    auto const expires = std::to_string(expires_s);
    std::string out(kMark);
    out += static_cast<char>(kind);
    out.append(".").append(expires).append(".").append(
        base::base64url_encode(mac(key, subject, kind, expires)));
    return out;
}

bool looks_sealed(std::string_view token) { return token.starts_with(kMark); }

std::optional<std::int64_t> unseal(base::Secret const& key, Subject const& subject, Kind kind,
                                   std::string_view token, std::int64_t now_s) {
    if (!looks_sealed(token) || token.size() > kMaxToken) return std::nullopt;
    token.remove_prefix(kMark.size());
    if (token.size() < 2 || token[0] != static_cast<char>(kind) || token[1] != '.') return std::nullopt;
    token.remove_prefix(2);
    auto const dot = token.find('.');
    if (dot == token.npos) return std::nullopt;
    auto const expires = token.substr(0, dot);
    std::string given;
    if (!base::base64url_decode(token.substr(dot + 1), given)) return std::nullopt;
    if (!base::constant_time_equal(mac(key, subject, kind, expires), given)) return std::nullopt;
    std::int64_t value = 0;
    auto const [end, ec] = std::from_chars(expires.data(), expires.data() + expires.size(), value);
    if (ec != std::errc() || end != expires.data() + expires.size() || value <= now_s) return std::nullopt;
    return value;
}

Presented presented(Fields const& fields, std::string& target) {
    Presented out;
    // The link, once, as a parameter of its own.
    if (auto const question = target.find('?'); question != target.npos) {
        std::string kept;
        std::string_view rest = std::string_view(target).substr(question + 1);
        int links = 0;
        for (bool first = true;; first = false) {
            auto const amp = rest.find('&');
            auto const part = rest.substr(0, amp);
            auto const equals = part.find('=');
            if (equals != part.npos && part.substr(0, equals) == kLinkParameter) {
                out.link = part.substr(equals + 1);
                ++links;
            } else {
                if (!kept.empty() || (!first && links == 0)) kept += '&';
                kept += part;
            }
            if (amp == rest.npos) break;
            rest.remove_prefix(amp + 1);
        }
        out.ambiguous = links > 1;
        if (links > 0) target = target.substr(0, question) + (kept.empty() ? "" : "?" + kept);
    }
    auto const own = std::string(kTokenHeader);
    if (fields.count(own) > 1) out.ambiguous = true;
    out.header = fields[own];
    using Field = boost::beast::http::field;
    if (fields.count(Field::authorization) == 1) {
        std::string_view value = fields[Field::authorization];
        constexpr std::string_view scheme = "Bearer ";
        if (value.size() > scheme.size() && boost::beast::iequals(value.substr(0, scheme.size()), scheme)) {
            value = trim(value.substr(scheme.size()));
            if (looks_sealed(value)) {
                if (!out.header.empty() && out.header != value) out.ambiguous = true;
                out.header = value;
                out.authorization_is_ours = true;
            }
        }
    }
    auto const [from, to] = fields.equal_range(Field::cookie);
    for (auto at = from; at != to; ++at) {
        std::string_view rest = at->value();
        while (!rest.empty()) {
            auto const semicolon = rest.find(';');
            auto const pair = trim(rest.substr(0, semicolon));
            auto const equals = pair.find('=');
            if (equals != pair.npos && is_our_cookie(pair.substr(0, equals)) &&
                out.cookies.size() < kMaxCookies)
                out.cookies.emplace_back(pair.substr(equals + 1));
            rest = semicolon == rest.npos ? std::string_view() : rest.substr(semicolon + 1);
        }
    }
    return out;
}

Decision decide(base::Secret const& key, Subject const& subject, bool is_public, Presented const& p,
                std::int64_t now_s) {
    Decision d;
    auto const explicitly = [&](std::string const& token, Verdict verdict) {
        auto const until = unseal(key, subject, Kind::link, token, now_s);
        d.verdict = until && !p.ambiguous ? verdict : Verdict::wrong;
        d.expires_s = until.value_or(0);
        return d;
    };
    if (is_public && !p.ambiguous) {
        d.verdict = Verdict::open;
        return d;
    }
    if (!p.link.empty()) return explicitly(p.link, Verdict::by_link);
    if (!p.header.empty()) return explicitly(p.header, Verdict::by_header);
    // Another page may have planted one beside ours; it must not lock the visitor out.
    for (auto const& cookie : p.cookies)
        if (auto const until = unseal(key, subject, Kind::cookie, cookie, now_s)) {
            d.verdict = Verdict::by_cookie;
            d.expires_s = std::max(d.expires_s, *until);
        }
    if (d.verdict == Verdict::missing && (!p.cookies.empty() || p.ambiguous)) d.verdict = Verdict::wrong;
    return d;
}

std::string set_cookie(std::string const& token, std::int64_t max_age_s, bool secure, bool localhost,
                       bool framed) {
    std::string out(cookie_name(secure));
    out.append("=").append(token).append("; Path=/; HttpOnly; Max-Age=").append(std::to_string(max_age_s));
    bool const can_be_secure = secure || localhost;
    if (framed && can_be_secure)
        out += "; SameSite=None; Secure; Partitioned";
    else
        out += secure ? "; SameSite=Lax; Secure" : "; SameSite=Lax";
    return out;
}

}  // namespace preview
