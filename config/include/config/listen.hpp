#pragma once
#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace config {

/// Where to listen, as `berth serve --listen` says it.
struct ListenAddress {
    std::string address;       ///< an IP address, without brackets
    std::uint16_t port = 0;    ///< 0: any free one
    bool operator==(ListenAddress const&) const = default;
};

/// "127.0.0.1:7777", "[::1]:7777" or "localhost:7777", which is the first of them. errc::invalid says what was expected.
base::Result<ListenAddress> parse_listen(std::string_view text);

/// Whether what listens there is reached from this machine alone: an address of 127.0.0.0/8 (also in IPv6's clothes), ::1, or
/// "localhost". False for any other name, and for what is no address.
bool is_loopback(std::string_view address);

}  // namespace config
