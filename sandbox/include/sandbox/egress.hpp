#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <sandbox/guest.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sandbox {

/// Which hosts a workspace may reach. Empty: none. Patterns: "example.com" (exactly), "*.example.com" (any depth below),
/// each with an optional ":port" (default 80 and 443). Addresses in numbers are never allowed by a name pattern.
struct EgressPolicy {
    struct Rule {
        std::string host;                  ///< lower case, without "*."
        bool subdomains = false;
        int port = 0;                      ///< 0 = 80 and 443
    };
    std::vector<Rule> rules;
    /// For the sentence that a refused program gets: whose list this is, and where a host is added to it.
    std::string whose = "this workspace's", added_in = "network.allow of workspace_create";

    /// errc::invalid names the pattern and what is expected.
    static base::Result<EgressPolicy> parse(std::vector<std::string> const& patterns);
    /// `host` as a request has it, in any case. Of the name alone: what it resolves to is for the proxy to judge.
    bool allows(std::string_view host, int port) const;
};

/// The proxy that a sandbox's programs are pointed at (HTTP_PROXY and friends): CONNECT and absolute-form requests. It
/// resolves names itself, refuses private, loopback, link-local, multicast and metadata addresses at dial time (the
/// address checked is the address dialled), and answers a refusal with 403 and a sentence that says why.
/// Threads: the I/O thread.
class EgressProxy {
  public:
    struct Options {
        int max_connections_per_sandbox = 64;
        /// Beyond these a connection waits for its turn, in the order of arrival and unread: npm and browsers open a hundred at
        /// once, and take one that is closed for a failure. A further one is closed, and so is one whose turn does not come in time.
        std::size_t max_waiting_per_sandbox = 256;
        base::milliseconds turn_limit{60'000};
        base::milliseconds connect_limit{15'000};
        base::milliseconds idle_limit{300'000};
        /// Addresses that may be dialled although they are private; for an operator's own mirror. "insecure" in the config key.
        std::vector<std::string> insecure_private_addresses;
    };
    struct Record {
        std::string workspace_id, host;
        int port = 0;
        bool allowed = false;
        std::string reason;
    };
    /// `audit` hears of each request once, on the I/O thread: it was allowed and dialled, or refused and why.
    EgressProxy(asio::io_context&, Options, std::function<void(Record const&)> audit);
    ~EgressProxy();                        ///< ends the connections that are served, of which the audit hears no more
    /// Serves one connection from inside until it ends. `told` hears what the audit hears.
    void serve(std::unique_ptr<base::ByteStream>, std::string workspace_id, std::shared_ptr<EgressPolicy const> policy,
               std::function<void(Record const&)> told = nullptr);
    /// Another list for the connections that are open: those to a host that it does not allow end.
    void hold_to(std::string const& workspace_id, std::shared_ptr<EgressPolicy const> policy);

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;           // shared with connections that still wind down
};

}  // namespace sandbox
