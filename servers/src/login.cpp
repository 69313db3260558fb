#include "kept_login.hpp"
#include <base/syscalls.hpp>

#include <servers/login.hpp>

// The operator's login, beside a running berth or without one.
namespace servers {
namespace {

using base::errc;
using base::Task;

constexpr base::milliseconds kForPeople{900'000};  // to find the password, and the telephone for the second factor

std::string logins_in(std::string const& directory) { return directory + "/logins"; }

class AtBrowser final : public mcp::OAuthHost {
  public:
    AtBrowser(LoginStore store, std::string server, std::shared_ptr<Browser> browser)
        : store_(std::move(store)), server_(std::move(server)), browser_(std::move(browser)) {}
    Task<base::Result<base::Secret>> load() override {
        // What cannot be read is written anew.
        auto record = store_.load(server_);
        co_return record ? std::move(*record) : base::Secret();
    }
    Task<base::Status> save(base::Secret record) override { co_return store_.save(server_, record); }
    Task<base::Result<std::string>> redirect_uri(std::string last) override {
        return browser_->redirect_uri(std::move(last));
    }
    Task<base::Result<std::string>> authorize(std::string url) override {
        asked = true;
        return browser_->authorize(std::move(url));
    }
    bool asked = false;

  private:
    LoginStore store_;
    std::string server_;
    std::shared_ptr<Browser> browser_;
};

base::Status can_log_in(config::ServerEntry const& entry) {
    if (!entry.problem.empty()) return base::error(errc::invalid, entry.problem);
    if (entry.kind == config::ServerEntry::Kind::stdio)
        return base::error(errc::invalid, entry.name + " is no server reached by URL");
    if (!entry.may_log_in())
        return base::error(errc::invalid, entry.name + " has an Authorization header, or \"oauth\": false");
    if (entry.oauth.client_credentials)
        return base::error(errc::invalid, entry.name + " logs in by itself (oauth.grant: client_credentials)");
    return {};
}

}  // namespace

Task<base::Result<LoggedIn>> log_in(asio::io_context& io, std::string directory, config::ServerEntry entry,
                                    std::string version, std::shared_ptr<Browser> browser) {
    if (auto s = can_log_in(entry); !s) co_return s.error();
    if (auto s = base::sys::mkdir(directory, 0700); !s) co_return s.error();
    auto const host = std::make_shared<AtBrowser>(LoginStore(logins_in(directory)), entry.name, std::move(browser));
    auto options = oauth_options(entry);
    options.anew = true;
    auto const authorization = mcp::oauth(io, entry.url, std::move(options), host);
    mcp::ClientEvents nobody;
    mcp::ClientOptions about;
    about.client_info = {{"name", "berth"}, {"version", std::move(version)}};
    about.open_limit = about.request_limit = kForPeople;
    about.listen = false;
    mcp::Client client(io, http_server(entry, authorization), std::move(about), nobody);
    auto const opened = co_await client.open();
    if (!opened) co_return base::error(errc::unavailable, mcp::to_string(opened.error()));
    auto listed = co_await client.list_tools();
    if (!host->asked) {  // open to all so far; it may want a login for what follows
        std::string scheme = "Bearer";
        auto asking = authorization->challenged(401, std::move(scheme));
        auto const got = co_await std::move(asking);
        if (!got)
            co_return base::error(errc::invalid,
                                  entry.name + " answers without a login, and offers none: " + got.error().message());
        listed = co_await client.list_tools();
    }
    LoggedIn out;
    if (opened->info.is_object() && opened->info.contains("name") && opened->info["name"].is_string())
        out.name = base::to_utf8(opened->info["name"].get<std::string>().substr(0, 100));
    if (listed) out.tools = listed->size();
    co_await client.close();
    if (!listed) co_return base::error(errc::unavailable, "logged in, but " + mcp::to_string(listed.error()));
    co_return out;
}

Task<base::Result<LoggedOut>> log_out(asio::io_context& io, std::string directory, config::ServerEntry entry) {
    LoginStore const store(logins_in(directory));
    auto const record = store.load(entry.name);
    if (auto s = store.remove(entry.name); !s) co_return s.error();  // first: a berth that runs uses it no more
    LoggedOut out;
    if (!record) {
        out.why_not = record.error().message();
    } else if (entry.url.empty()) {
        out.why_not = entry.name + " has no address any more";
    } else {
        auto revoking = mcp::revoke_tokens(io, entry.url, oauth_options(entry), *record);
        auto const revoked = co_await std::move(revoking);
        out.revoked = revoked && *revoked;
        if (!revoked) out.why_not = revoked.error().message();
    }
    co_return out;
}

}  // namespace servers
