#pragma once
#include "login_store.hpp"
#include <base/blocking.hpp>
#include <config/servers.hpp>
#include <mcp/oauth.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace servers {

mcp::OAuthOptions oauth_options(config::ServerEntry const& entry);
mcp::HttpServer http_server(config::ServerEntry const& entry, std::shared_ptr<mcp::Authorization> authorization);

/// The login of one server while nobody sits at a browser: uses and renews what is kept, and says when that is not
/// enough. Threads: the I/O thread.
class KeptLogin final : public mcp::OAuthHost {
  public:
    /// `command` is what the operator has to run.
    KeptLogin(base::BlockingPool& pool, LoginStore store, std::string server, std::string command);

    mcp::Task<base::Result<base::Secret>> load() override;
    mcp::Task<base::Status> save(base::Secret record) override;
    mcp::Task<base::Result<std::string>> redirect_uri(std::string last) override;
    mcp::Task<base::Result<std::string>> authorize(std::string url) override;

    /// Somebody else logged in or out since this was last read or written here.
    bool changed() const;
    void seen() { stamp_ = store_.stamp(server_); }
    std::string const& command() const { return command_; }

    std::function<void(base::Secret const& record)> on_record;  ///< read or written: what it holds must not be shown
    std::function<void()> on_wanted;                            ///< a login is needed

  private:
    base::BlockingPool& pool_;
    LoginStore store_;
    std::string server_, command_, stamp_;
    int saving_ = 0;
};

}  // namespace servers
