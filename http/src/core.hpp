#pragma once
#include "router.hpp"
#include <http/site.hpp>

#include <array>
#include <map>
#include <unordered_set>

namespace http {

class Connection;

/// Who may be behind a connection: `local` is the private socket, whose file mode was the credential; `sites` a listener
/// without routes.
enum class From { anywhere, local, sites };

/// What listeners and connections share. Connections keep it alive, since a handler that resists cancellation
/// may outlast its Server.
///
/// Time limits and departed clients are found by one periodic sweep: connections only note a deadline, so a
/// request costs no timer and no extra system call.
class Core : public std::enable_shared_from_this<Core> {
  public:
    Core(asio::io_context&, GateOptions, ServerOptions, std::vector<Route>);

    asio::io_context& io() { return io_; }
    Gate const& gate() const { return gate_; }
    Router const& router() const { return router_; }
    ServerOptions const& options() const { return options_; }

    void add_site(Site site) { sites_.push_back(std::move(site)); }
    /// Whose request this is by its one Host; null when it is the routes' own. `name` is Host without its port.
    Site const* site_for(Fields const&, std::string& name) const;

    void add(Connection&);
    void remove(Connection&);
    std::size_t connections() const { return connections_.size(); }

    /// Waits until another connection of this kind may be accepted; false once stopping. Who reaches only the sites
    /// cannot take all the room, and the private socket has its own.
    base::Task<bool> room(From);
    /// Whether a TCP peer may have another connection.
    bool admits(std::string const& network) const;

    bool stopping() const { return stopping_; }
    /// No new connections; those between two requests end now.
    void begin_stop();
    /// Whether all connections were gone within the limit.
    base::Task<bool> drained(base::milliseconds limit);
    void cancel_handlers();
    void close_all();

  private:
    using Held = std::vector<std::shared_ptr<Connection>>;
    Held hold() const;  ///< all of them; acting on one may end it
    void arm();
    void sweep();
    bool full(From) const;

    asio::io_context& io_;
    Gate gate_;
    Router router_;
    ServerOptions options_;
    std::vector<Site> sites_;
    base::milliseconds interval_;
    std::unordered_set<Connection*> connections_;
    std::array<std::size_t, 3> open_{};           ///< by From
    std::map<std::string, std::size_t> networks_;  ///< open ones of each TCP peer
    asio::steady_timer sweep_timer_, room_timer_;
    bool armed_ = false;
    bool stopping_ = false;
};

}  // namespace http
