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
    std::string const& installed_in() const { return installed_; }
    std::string const& directory() const { return directory_; }
    std::string node() const { return installed_ + "/bin/node"; }
    /// A file of an installed package. Failure when it is not there.
    std::string package(std::string const& path) const;
    /// @modelcontextprotocol/server-filesystem, and Desktop Commander; both may touch files below `root`
    /// only.
    std::unique_ptr<ToolConnection> filesystem(std::string const& root);
    std::unique_ptr<ToolConnection> desktop_commander(std::string const& root);

    /// @modelcontextprotocol/server-everything on its stdin and stdout: how to start it, and one that runs. `mark` stands on
    /// its command line.
    std::vector<std::string> everything(std::string const& mark) const;
    std::unique_ptr<ToolConnection> everything_on_stdio(std::string const& mark);
    /// Debian's nginx, "" when scripts/bench has not brought it.
    std::string nginx() const { return brought("nginx/usr/sbin/nginx"); }
    /// Likewise its bubblewrap; the directories of a project with npm's cache for it, and of numpy with its libraries.
    std::string bubblewrap() const { return brought("bubblewrap/usr/bin/bwrap"); }
    std::string npm_project() const { return brought("npm"); }
    std::string numpy() const { return brought("numpy"); }

    /// A server of the TypeScript SDK over Streamable HTTP with the tool `echo`.
    struct SdkServer {
        std::unique_ptr<Child> child;
        std::uint16_t port = 0;
        Clock::duration start_took{};  ///< until it takes connections
        std::string mark;              ///< stands on its command line
    };
    SdkServer sdk_server();

  private:
    std::string brought(char const* file) const;
    Children& children_;
    std::string installed_, directory_;
};

}  // namespace bench
