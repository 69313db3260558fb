#include <http/networks.hpp>

#include <algorithm>

namespace http {

namespace ip = boost::asio::ip;

base::Result<Networks> Networks::parse(std::vector<std::string> const& texts) {
    Networks out;
    for (auto const& text : texts) {
        boost::system::error_code no_v4, no_v6;
        auto const v4 = ip::make_network_v4(text, no_v4);
        if (!no_v4) {
            out.v4_.push_back(v4.canonical());
            continue;
        }
        auto const v6 = ip::make_network_v6(text, no_v6);
        if (no_v6) return base::error(base::errc::invalid, "\"" + text + "\" is no network such as 10.0.5.0/24");
        out.v6_.push_back(v6.canonical());
    }
    return out;
}

bool Networks::has(ip::address const& address) const {
    if (address.is_v6() && !address.to_v6().is_v4_mapped()) {
        auto const it = address.to_v6();
        return std::any_of(v6_.begin(), v6_.end(), [&](ip::network_v6 const& network) {
            return ip::network_v6(it, network.prefix_length()).canonical() == network;
        });
    }
    auto const it = address.is_v4() ? address.to_v4() : ip::make_address_v4(ip::v4_mapped, address.to_v6());
    return std::any_of(v4_.begin(), v4_.end(), [&](ip::network_v4 const& network) {
        return ip::network_v4(it, network.prefix_length()).canonical() == network;
    });
}

}  // namespace http
