#pragma once
#include <http/networks.hpp>
#include <http/server.hpp>

namespace http {

/// Who a request comes from when `peer` (an address, IPv6 in brackets) handed it on: the last address in X-Forwarded-For
/// that is no trusted proxy's. What stands before it is the client's own claim and is not looked at. `peer` itself when
/// it is not trusted, or says nothing that is an address.
std::string visitor(Networks const& trusted, Fields const&, std::string const& peer);

}  // namespace http
