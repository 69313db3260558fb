#pragma once
#include "mcp_client.hpp"
#include "stdio_peer.hpp"

#include <memory>
#include <string>

namespace bench {

/// The servers from npm that berth is measured beside, started when first asked for. They are what
/// bench/peers pins.
class Peers {
  public:
    /// `installed`: where scripts/bench put them, "" for none. `directory` takes their logs and settings.
    Peers(Children&, std::string installed, std::string directory);

    bool installed() const { return !installed_.empty(); }
    /// @modelcontextprotocol/server-filesystem, and Desktop Commander; both may touch files below `root`
    /// only.
    std::unique_ptr<ToolConnection> filesystem(std::string const& root);
    std::unique_ptr<ToolConnection> desktop_commander(std::string const& root);

    /// A server of the TypeScript SDK over Streamable HTTP with the tool `echo`.
    struct SdkServer {
        std::unique_ptr<Child> child;
        std::uint16_t port = 0;
        Clock::duration start_took{};  ///< until it takes connections
        std::string mark;              ///< stands on its command line
    };
    SdkServer sdk_server();

  private:
    std::string node() const { return installed_ + "/bin/node"; }
    std::string package(std::string const& path) const;
    Children& children_;
    std::string installed_, directory_;
};

}  // namespace bench
