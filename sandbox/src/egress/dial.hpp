#pragma once
#include "address.hpp"

#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>

#include <memory>
#include <string>

namespace sandbox::egress {

using Socket = asio::ip::tcp::socket;

/// Resolves and connects. The address that was judged is the one that is dialled: the name is looked up once.
/// Threads: the I/O thread; look-ups run on a pool of their own, because getaddrinfo(3) cannot be interrupted and a
/// server that does not answer must not hold up anything else.
class Dialer {
  public:
    explicit Dialer(std::vector<std::string> const& insecure_private_addresses);
    ~Dialer();

    /// errc::denied with a sentence: every address of the host is one that no sandbox may reach. errc::unavailable: no such
    /// host, or nobody answers there. errc::timed_out after `limit`. The dialer outlives the call.
    base::Task<base::Result<std::shared_ptr<Socket>>> dial(std::string host, int port, base::milliseconds limit);

  private:
    using Addresses = std::vector<asio::ip::address>;
    base::Task<base::Result<Addresses>> resolve(std::string host, base::milliseconds limit);
    std::string why_refused(asio::ip::address const&) const;

    static constexpr int kMaxLookups = 256;    ///< waiting or running
    Networks exempt_;
    std::shared_ptr<int> lookups_ = std::make_shared<int>(0);
    base::BlockingPool pool_{8};
};

}  // namespace sandbox::egress
