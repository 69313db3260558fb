#pragma once
#include "tools/tools.hpp"
#include "transfers.hpp"
#include <base/blocking.hpp>
#include <base/ids.hpp>
#include <config/settings.hpp>
#include <http/server.hpp>
#include <mcp/server.hpp>
#include <preview/previews.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/image_store.hpp>
#include <sandbox/sandboxes.hpp>
#include <servers/servers.hpp>
#include <workspace/volume.hpp>
#include <workspace/workspaces.hpp>

#include <memory>
#include <string>

namespace host {

inline constexpr char kDefaultData[] = "/var/lib/berth";

struct EngineOptions {
    std::string data_dir;
    std::string guest_binary, contain_binary, jail_binary;
    std::string version;
    std::string servers_file;  ///< servers.json; "" = DATA_DIR/servers.json
    config::Settings settings;
    bool to_end = false;       ///< only `end_everything` follows: no template has to be there
};

/// The browser of a data directory, for preview_check.
preview::Browser::Options browser_options(std::string data_dir, std::string jail_program);

/// Everything wired together, in the order in which it needs each other; destruction undoes it. Threads: the
/// I/O thread.
class Engine {
  public:
    /// Opens the data directory (made when missing, 0700) and takes it for this process. One line says what
    /// is in the way.
    static base::Result<std::unique_ptr<Engine>> open(asio::io_context&, EngineOptions);
    /// When the pool and the volume stock are filled: at the start, or with the first tool call, so that a
    /// process which a client starts only to look at it makes no sandbox.
    enum class Filling { at_start, at_first_call };
    /// Takes back what runs, and opens the tools.
    Task<void> start(Filling filling = Filling::at_start);
    /// Instead of `start`: takes back what runs, and ends it all.
    Task<void> end_everything();
    /// What a stop leaves: every sandbox, for the next server; of a server that was there for its clients alone, those that
    /// it found running, while its own sleep; none.
    enum class Leaving { everything, what_was_found, nothing };
    Task<void> stop(Leaving leaving);

    mcp::Server& mcp() { return *mcp_; }
    base::Secret const& token() const { return token_; }
    Transfers& transfers() { return *transfers_; }
    preview::Previews& previews() { return *previews_; }
    /// The routes of the control plane: /mcp, /transfer/*, /healthz, /readyz, /metrics, and /shutdown, which only the private
    /// socket has: a client's token lets it work here, not end what others do.
    std::vector<http::Route> routes(std::function<void(bool stop_all)> shut_down);
    bool ready() const { return ready_; }

  private:
    Engine(asio::io_context& io, EngineOptions options) : io_(io), options_(std::move(options)) {}
    base::Status open_images(base::Secret key);
    Task<void> take_back();
    std::string metrics() const;
    void fill();  ///< once; later calls do nothing

    asio::io_context& io_;
    EngineOptions options_;
    base::BlockingPool pool_{8};
    base::Secret token_;
    bool ready_ = false, filling_ = false;
    std::unique_ptr<registry::Registry> records_;
    std::unique_ptr<sandbox::Sandboxes> sandboxes_;
    std::unique_ptr<workspace::VolumeStore> volumes_;
    std::unique_ptr<sandbox::EgressProxy> egress_;
    std::unique_ptr<sandbox::ImageStore> images_;
    std::unique_ptr<workspace::Workspaces> workspaces_;
    std::unique_ptr<Transfers> transfers_;
    std::unique_ptr<preview::Backend> preview_backend_;
    std::unique_ptr<preview::Previews> previews_;
    std::unique_ptr<preview::Browser> browser_;
    std::unique_ptr<servers::Servers> servers_;
    std::unique_ptr<Tools> tools_;
    std::unique_ptr<mcp::Server> mcp_;
};

}  // namespace host
