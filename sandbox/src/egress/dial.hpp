#pragma once
#include "address.hpp"

#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sandbox::egress {

using Socket = asio::ip::tcp::socket;

/// Resolves and connects. The address that was judged is the one that is dialled: the name is looked up once.
/// Threads: the I/O thread; look-ups run on a pool of their own, because getaddrinfo(3) cannot be interrupted and a
/// server that does not answer must not hold up anything else. Who asks for a name that is being looked up already waits for
/// that answer: a hundred connections to one host are one look-up.
class Dialer {
  public:
    using Addresses = std::vector<asio::ip::address>;
    /// Blocks; called on any thread. errc::unavailable: no such host.
    using LookUp = std::function<base::Result<Addresses>(std::string const& host)>;

    explicit Dialer(std::vector<std::string> const& insecure_private_addresses);
    /// With a resolver of the caller's own.
    Dialer(std::vector<std::string> const& insecure_private_addresses, LookUp resolver);
    ~Dialer();

    /// errc::denied with a sentence: every address of the host is one that no sandbox may reach. errc::unavailable: no such
    /// host, or nobody answers there. errc::timed_out after `limit`. The dialer outlives the call.
    base::Task<base::Result<std::shared_ptr<Socket>>> dial(std::string host, int port, base::milliseconds limit);

  private:
    base::Task<base::Result<Addresses>> resolve(std::string host, base::milliseconds limit);
    std::string why_refused(asio::ip::address const&) const;

    struct Lookup;
    using Lookups = std::map<std::string, std::shared_ptr<Lookup>>;

    static constexpr std::size_t kMaxLookups = 256;    ///< waiting or running
    Networks exempt_;
    LookUp look_up_;
    std::shared_ptr<Lookups> lookups_ = std::make_shared<Lookups>();    // shared with answers that are still to come
    base::BlockingPool pool_{8};
};

}  // namespace sandbox::egress
