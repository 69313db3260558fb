#include "visitor.hpp"

#include <optional>

namespace http {
namespace {

namespace ip = boost::asio::ip;

/// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80".
std::optional<ip::address> address_in(std::string_view text) {
    auto const blank = [](char c) { return c == ' ' || c == '\t'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    if (text.starts_with('[')) {
        auto const end = text.find(']');
        if (end == text.npos) return std::nullopt;
        text = text.substr(1, end - 1);
    } else if (auto const colon = text.find(':'); colon != text.npos && text.find(':', colon + 1) == text.npos) {
        text = text.substr(0, colon);
    }
    boost::system::error_code ec;
    auto const address = ip::make_address(std::string(text), ec);
    if (ec) return std::nullopt;
    return address;
}

std::string in_brackets(ip::address const& address) {
    return address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
}

}  // namespace

std::string visitor(Networks const& trusted, Fields const& fields, std::string const& peer) {
    auto const proxy = address_in(peer);
    if (!proxy || !trusted.has(*proxy)) return peer;
    std::string all;  // several fields are one list
    auto const [from, to] = fields.equal_range("X-Forwarded-For");
    for (auto at = from; at != to; ++at) all.append(all.empty() ? "" : ",").append(at->value());
    auto found = peer;
    for (std::string_view rest = all; !rest.empty();) {
        auto const comma = rest.rfind(',');
        auto const address = address_in(comma == rest.npos ? rest : rest.substr(comma + 1));
        if (!address) break;
        found = in_brackets(*address);
        if (!trusted.has(*address) || comma == rest.npos) break;
        rest = rest.substr(0, comma);
    }
    return found;
}

}  // namespace http
