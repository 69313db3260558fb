#include <http/client_url.hpp>

#include <algorithm>
#include <charconv>

namespace http {
namespace {

bool starts_with_nocase(std::string_view text, std::string_view prefix) {
    auto const same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; };
    return text.size() >= prefix.size() &&
           std::equal(prefix.begin(), prefix.end(), text.begin(), [&](char p, char t) { return same(t, p); });
}

bool host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

base::Error bad_url(std::string why) {
    return base::error(base::errc::invalid, "not a usable URL: " + std::move(why));
}

base::Status take_authority(std::string_view authority, Url& out) {
    if (authority.find('@') != authority.npos) return bad_url("it holds user information");
    std::string_view port;
    if (authority.starts_with('[')) {
        auto const end = authority.find(']');
        if (end == authority.npos) return bad_url("the address has no closing bracket");
        out.host = authority.substr(1, end - 1);
        auto const inside = [](char c) {
            return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
                   c == '.';
        };
        if (out.host.find(':') == out.host.npos || !std::all_of(out.host.begin(), out.host.end(), inside))
            return bad_url("what is in brackets is no IPv6 address");
        auto const rest = authority.substr(end + 1);
        if (!rest.empty() && rest.front() != ':') return bad_url("the host is malformed");
        if (!rest.empty()) port = rest.substr(1);
        if (!rest.empty() && port.empty()) return bad_url("the port is empty");
    } else {
        auto const colon = authority.find(':');
        out.host = authority.substr(0, colon);
        if (colon != authority.npos) {
            port = authority.substr(colon + 1);
            if (port.empty()) return bad_url("the port is empty");
        }
        std::transform(out.host.begin(), out.host.end(), out.host.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
        if (out.host.empty() || out.host.size() > 253 ||
            !std::all_of(out.host.begin(), out.host.end(), host_character))
            return bad_url("the host is malformed");
    }
    if (!port.empty()) {
        unsigned number = 0;
        auto const [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (ec != std::errc{} || end != port.data() + port.size() || number == 0 || number > 65535)
            return bad_url("the port is no number from 1 to 65535");
        out.port = static_cast<std::uint16_t>(number);
    }
    return {};
}

}  // namespace

base::Result<Url> Url::parse(std::string_view text) {
    if (text.size() > 8192) return bad_url("longer than 8192 bytes");
    if (!std::all_of(text.begin(), text.end(), [](char c) {
            return c > 0x20 && c < 0x7f && c != '\\' && c != '"' && c != '<' && c != '>';
        }))
        return bad_url("it holds a character that must be percent-encoded");
    Url out;
    if (starts_with_nocase(text, "https://")) {
        out.tls = true;
        out.port = 443;
        text.remove_prefix(8);
    } else if (starts_with_nocase(text, "http://")) {
        text.remove_prefix(7);
    } else {
        return bad_url("it must begin with https:// or http://");
    }
    if (text.find('#') != text.npos) return bad_url("it has a fragment");
    auto const end = std::min(text.find('/'), text.find('?'));
    if (auto taken = take_authority(text.substr(0, end), out); !taken) return taken.error();
    if (end != text.npos) out.target = text.substr(end);
    if (out.target.front() == '?') out.target.insert(0, 1, '/');
    return out;
}

base::Result<Url> Url::resolve(std::string_view reference) const {
    auto const colon = reference.find(':');
    if (colon != reference.npos && colon < reference.find_first_of("/?#")) return parse(reference);
    if (reference.starts_with("//")) return parse((tls ? "https:" : "http:") + std::string(reference));
    if (reference.starts_with('/')) return parse(origin() + std::string(reference));
    auto const folder = path().substr(0, path().rfind('/') + 1);
    return parse(origin() + std::string(folder) + std::string(reference));
}

std::string_view Url::path() const {
    std::string_view const all = target;
    return all.substr(0, all.find('?'));
}

std::string Url::authority() const {
    auto out = host.find(':') == host.npos ? host : '[' + host + ']';
    if (port != (tls ? 443 : 80)) out += ':' + std::to_string(port);
    return out;
}

std::string Url::origin() const { return (tls ? "https://" : "http://") + authority(); }

std::string percent_encode(std::string_view text) {
    constexpr char digits[] = "0123456789ABCDEF";
    std::string out;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
            c == '.' || c == '_' || c == '~') {
            out += c;
        } else {
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

}  // namespace http
