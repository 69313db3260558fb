#pragma once
#include <config/settings.hpp>

#include <cstdint>
#include <string>
#include <vector>

// By which names clients reach the server, and what links say.
namespace host {

/// The names that requests may give as Host.
std::vector<std::string> admitted_hosts(config::Settings::Listen const&);
/// "http://127.0.0.1:7777" as this server listens, for a bound `port`.
std::string own_url(config::Settings::Listen const&, std::uint16_t port);
/// What links that are handed out begin with: listen.url where there is one.
std::string public_url(config::Settings::Listen const&, std::uint16_t port);
/// What to tell the operator when nobody beyond this machine would be admitted; "" when somebody is.
std::string unreachable(config::Settings::Listen const&);

}  // namespace host
