#include "address.hpp"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace sandbox::egress {
namespace {

using asio::ip::address;
using asio::ip::address_v4;
using asio::ip::address_v6;

struct Range {
    std::uint32_t network;
    int bits;
    char const* what;
};

constexpr std::uint32_t v4(unsigned a, unsigned b, unsigned c, unsigned d) { return a << 24 | b << 16 | c << 8 | d; }

// The IANA IPv4 special-purpose registry, without the anycast entries that are reachable for everyone.
constexpr Range kRanges[] = {
    {v4(0, 0, 0, 0), 8, "an address of no host"},
    {v4(10, 0, 0, 0), 8, "a private address"},
    {v4(100, 64, 0, 0), 10, "a carrier's private address"},
    {v4(127, 0, 0, 0), 8, "a loopback address"},
    {v4(168, 63, 129, 16), 32, "a cloud's metadata address"},    // Azure's, the one outside the private ranges
    {v4(169, 254, 0, 0), 16, "a link-local address"},            // with the metadata services of the other clouds
    {v4(172, 16, 0, 0), 12, "a private address"},
    {v4(192, 0, 0, 0), 24, "a reserved address"},
    {v4(192, 0, 2, 0), 24, "a reserved address"},
    {v4(192, 88, 99, 0), 24, "a reserved address"},
    {v4(192, 168, 0, 0), 16, "a private address"},
    {v4(198, 18, 0, 0), 15, "a private address"},
    {v4(198, 51, 100, 0), 24, "a reserved address"},
    {v4(203, 0, 113, 0), 24, "a reserved address"},
    {v4(224, 0, 0, 0), 4, "a multicast address"},
    {v4(240, 0, 0, 0), 4, "a reserved address"},
};

std::string why_private_v4(std::uint32_t a) {
    for (auto const& r : kRanges)
        if (((a ^ r.network) >> (32 - r.bits)) == 0) return r.what;
    return "";
}

std::optional<address_v4> embedded(address_v6::bytes_type const& b) {
    auto const at = [&](std::size_t i) { return address_v4(v4(b[i], b[i + 1], b[i + 2], b[i + 3])); };
    auto const zeros = [&](std::size_t from, std::size_t to) {
        return std::all_of(b.begin() + from, b.begin() + to, [](unsigned char c) { return c == 0; });
    };
    if (zeros(0, 10) && b[10] == 0xFF && b[11] == 0xFF) return at(12);                       // ::ffff:0:0/96
    if (zeros(0, 8) && b[8] == 0xFF && b[9] == 0xFF && zeros(10, 12)) return at(12);         // ::ffff:0:0:0/96, RFC 2765
    if (zeros(0, 12) && !zeros(12, 15)) return at(12);                                       // ::/96, RFC 4291 2.5.5.1
    if (b[0] == 0x20 && b[1] == 0x02) return at(2);                                          // 2002::/16, RFC 3056
    if (b[0] == 0x00 && b[1] == 0x64 && b[2] == 0xFF && b[3] == 0x9B && zeros(4, 12)) return at(12);    // RFC 6052
    return std::nullopt;
}

std::string why_private_v6(address_v6 const& a) {
    auto const b = a.to_bytes();
    if (auto const inner = embedded(b)) return why_private_v4(inner->to_uint());
    if (a.is_loopback()) return "a loopback address";
    if ((b[0] & 0xFE) == 0xFC) return "a private address";                                   // fc00::/7
    if (b[0] == 0xFE && (b[1] & 0x80)) return "a link-local address";                        // fe80::/10, fec0::/10
    if (b[0] == 0xFF) return "a multicast address";
    if ((b[0] & 0xE0) != 0x20) return "a reserved address";                                  // beyond 2000::/3
    if (b[0] == 0x20 && b[1] == 0x01 && b[2] < 0x02) return "a reserved address";            // 2001::/23, with Teredo
    if (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0D && b[3] == 0xB8) return "a reserved address";
    return "";
}

bool digits(std::string_view s) {
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string why_private(address const& a) {
    return a.is_v4() ? why_private_v4(a.to_v4().to_uint()) : why_private_v6(a.to_v6());
}

Networks::Networks(std::vector<std::string> const& cidrs) {
    for (auto const& text : cidrs) {
        boost::system::error_code ec;
        auto const four = asio::ip::make_network_v4(text, ec);
        if (!ec) {
            v4_.push_back(four.canonical());
            continue;
        }
        auto const six = asio::ip::make_network_v6(text, ec);
        if (!ec) v6_.push_back(six.canonical());
    }
}

bool Networks::contain(address const& a) const {
    auto const in_v4 = [&](address_v4 const& four) {
        return std::any_of(v4_.begin(), v4_.end(), [&](asio::ip::network_v4 const& n) {
            return (four.to_uint() & n.netmask().to_uint()) == n.network().to_uint();
        });
    };
    if (a.is_v4()) return in_v4(a.to_v4());
    auto const bytes = a.to_v6().to_bytes();
    if (auto const inner = embedded(bytes)) return in_v4(*inner);
    return std::any_of(v6_.begin(), v6_.end(), [&](asio::ip::network_v6 const& n) {
        auto const network = n.network().to_bytes();
        for (int bit = 0; bit < n.prefix_length(); ++bit) {
            auto const i = static_cast<std::size_t>(bit / 8);
            if (((bytes[i] ^ network[i]) >> (7 - bit % 8)) & 1) return false;
        }
        return true;
    });
}

bool of_this_machine(address const& a) {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw) < 0) return false;
    std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> const list(raw, ::freeifaddrs);
    auto target = a;
    if (a.is_v6())
        if (auto const inner = embedded(a.to_v6().to_bytes())) target = *inner;
    for (auto const* i = raw; i; i = i->ifa_next) {
        if (!i->ifa_addr) continue;
        if (i->ifa_addr->sa_family == AF_INET && target.is_v4()) {
            sockaddr_in in{};
            std::memcpy(&in, i->ifa_addr, sizeof in);
            if (ntohl(in.sin_addr.s_addr) == target.to_v4().to_uint()) return true;
        } else if (i->ifa_addr->sa_family == AF_INET6 && target.is_v6()) {
            sockaddr_in6 in{};
            std::memcpy(&in, i->ifa_addr, sizeof in);
            if (std::memcmp(&in.sin6_addr, target.to_v6().to_bytes().data(), 16) == 0) return true;
        }
    }
    return false;
}

std::string canonical_name(std::string_view s) {
    if (s.ends_with('.')) s.remove_suffix(1);
    if (s.empty() || s.size() > 253) return "";
    std::string name(s);
    std::size_t label = 0;
    for (char& c : name) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
        bool const good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' ? label == 0 : !good || ++label > 63) return "";
        if (c == '.') label = 0;
    }
    if (label == 0) return "";
    auto const last = std::string_view(name).substr(name.rfind('.') + 1);
    if (digits(last) || last.starts_with("0x")) return "";
    return name;
}

std::string canonical_literal(std::string_view s) {
    bool const brackets = s.size() > 2 && s.front() == '[' && s.back() == ']';
    if (brackets) s = s.substr(1, s.size() - 2);
    // A zone would choose an interface of the host's.
    if (s.empty() || s.size() > 45 || s.find('%') != s.npos || s.find('\0') != s.npos) return "";
    boost::system::error_code ec;
    auto const a = asio::ip::make_address(std::string(s), ec);
    if (ec || (brackets && a.is_v4())) return "";
    return a.to_string();
}

}  // namespace sandbox::egress
