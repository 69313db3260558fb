#pragma once
#include <base/asio.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sandbox::egress {

/// Why no sandbox may reach this address, as the end of a sentence ("a loopback address"); "" for a public one. An IPv4
/// address inside an IPv6 one (mapped, compatible, 6to4, NAT64) is judged as what it leads to.
std::string why_private(asio::ip::address const&);

/// Networks exempted by the operator. What does not parse was refused when the settings were read, and exempts nothing.
class Networks {
  public:
    explicit Networks(std::vector<std::string> const& cidrs);
    bool contain(asio::ip::address const&) const;

  private:
    std::vector<asio::ip::network_v4> v4_;
    std::vector<asio::ip::network_v6> v6_;
};

/// True for the addresses of this machine's own interfaces: its services are no more a sandbox's business on a public
/// address than on the loopback one. May block for microseconds (netlink).
bool of_this_machine(asio::ip::address const&);

/// A host name in its one form: lower case, without the final dot. "" when it is none: bad characters or lengths, or a
/// last label that is a number, which getaddrinfo(3) would read as an address ("127.1", "0x7f000001").
std::string canonical_name(std::string_view);
/// An address literal in its one form, without brackets; "" when it is none. IPv4 only as four decimal parts.
std::string canonical_literal(std::string_view);

}  // namespace sandbox::egress
