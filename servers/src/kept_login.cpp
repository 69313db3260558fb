#include "kept_login.hpp"

namespace servers {

mcp::OAuthOptions oauth_options(config::ServerEntry const& entry) {
    auto const& from = entry.oauth;
    mcp::OAuthOptions out;
    out.client_id = from.client_id;
    out.client_secret = from.client_secret.value;
    out.issuer = from.issuer;
    out.client_metadata_url = from.client_metadata_url;
    out.client_credentials = from.client_credentials;
    for (auto const& scope : from.scopes) out.scope += (out.scope.empty() ? "" : " ") + scope;
    return out;
}

mcp::HttpServer http_server(config::ServerEntry const& entry, std::shared_ptr<mcp::Authorization> authorization) {
    using Transport = mcp::HttpServer::Transport;
    mcp::HttpServer out;
    out.url = entry.url;
    out.transport = entry.kind == config::ServerEntry::Kind::sse ? Transport::sse
                    : entry.sse_fallback                         ? Transport::automatic
                                                                 : Transport::streamable;
    for (auto const& [name, value] : entry.headers) out.headers.emplace_back(name, value.value);
    out.authorization = std::move(authorization);
    return out;
}

KeptLogin::KeptLogin(base::BlockingPool& pool, LoginStore store, std::string server, std::string command)
    : pool_(pool), store_(std::move(store)), server_(std::move(server)), command_(std::move(command)) {
    seen();
}

mcp::Task<base::Result<base::Secret>> KeptLogin::load() {
    auto read = [store = store_, server = server_] {
        auto stamp = store.stamp(server);  // before the record, so that a change meanwhile is seen as one
        return std::pair(std::move(stamp), store.load(server));
    };
    auto [stamp, record] = co_await base::blocking(pool_, std::move(read));
    stamp_ = std::move(stamp);
    if (record && on_record) on_record(*record);
    co_return std::move(record);
}

mcp::Task<base::Status> KeptLogin::save(base::Secret record) {
    if (on_record) on_record(record);
    ++saving_;
    auto write = [store = store_, server = server_, record = std::move(record)] {
        auto saved = store.save(server, record);
        return std::pair(saved, store.stamp(server));
    };
    auto [saved, stamp] = co_await base::blocking(pool_, std::move(write));
    --saving_;
    stamp_ = std::move(stamp);
    co_return saved;
}

mcp::Task<base::Result<std::string>> KeptLogin::redirect_uri(std::string) {
    if (on_wanted) on_wanted();
    co_return base::error(base::errc::denied, "it asks for a login: " + command_);
}

mcp::Task<base::Result<std::string>> KeptLogin::authorize(std::string) {
    co_return base::error(base::errc::denied, "it asks for a login: " + command_);
}

bool KeptLogin::changed() const { return saving_ == 0 && store_.stamp(server_) != stamp_; }

}  // namespace servers
