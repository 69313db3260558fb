#pragma once
#include "children.hpp"
#include "mcp_client.hpp"
#include "peers.hpp"

#include <memory>
#include <string>
#include <vector>

namespace bench {

/// The gateways from npm that berth's community servers are measured beside: each offers one stdio server
/// over Streamable HTTP, as a child of its own.
enum class GatewayKind { mcp_proxy, supergateway };
char const* name_of(GatewayKind);

/// One that runs, with the server behind it. Both end with the object.
class Gateway {
  public:
    Gateway(Children&, Peers const&, GatewayKind, std::string mark);
    ~Gateway();
    Gateway(Gateway const&) = delete;
    Gateway& operator=(Gateway const&) = delete;

    std::unique_ptr<SessionClient> connect() const { return std::make_unique<SessionClient>(port_); }
    /// A further connection of a session; `caller` tells its requests' ids from those of the others.
    std::unique_ptr<SessionClient> join(std::string const& session, int caller) const {
        return std::make_unique<SessionClient>(port_, session, 1 + 1'000'000L * caller);
    }
    /// Processes of the gateway alone, and of it with its server.
    std::vector<pid_t> own_processes() const;
    std::vector<pid_t> processes() const;

  private:
    void stop() noexcept;
    std::string mark_;    ///< stands on the command lines
    std::string script_;  ///< of the gateway
    std::uint16_t port_;
    std::unique_ptr<Child> child_;
};

}  // namespace bench
