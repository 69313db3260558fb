#pragma once
#include <base/result.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

#include <string>
#include <vector>

namespace http {

/// Ranges of addresses: "10.0.5.0/24", "fd00:1::/64". A value.
class Networks {
  public:
    /// errc::invalid names the one that is no network.
    static base::Result<Networks> parse(std::vector<std::string> const& texts);
    /// An IPv4 address in IPv6's clothes counts as what it is.
    bool has(boost::asio::ip::address const&) const;

  private:
    std::vector<boost::asio::ip::network_v4> v4_;
    std::vector<boost::asio::ip::network_v6> v6_;
};

}  // namespace http
