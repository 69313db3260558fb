#pragma once
#include "children.hpp"
#include <base/unique_fd.hpp>

#include <boost/beast/core/flat_buffer.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

struct HttpAnswer {
    unsigned status = 0;
    std::string body, session;  ///< session: the field Mcp-Session-Id
};

/// One kept-alive HTTP/1.1 connection to a port of loopback, by blocking calls. Failure when it breaks, or
/// when an answer takes longer than a minute.
class HttpConnection {
  public:
    explicit HttpConnection(std::uint16_t port);

    /// `fields`: whole lines, without their line ends.
    std::string compose(std::string const& verb, std::string const& target,
                        std::vector<std::string> const& fields, std::string const& body) const;
    /// Connects anew when the server has ended the connection while nothing was asked of it: Node's does after five
    /// seconds.
    void renew();
    void send(std::string const& bytes);
    HttpAnswer receive();

  private:
    void open();
    std::uint16_t port_;
    base::UniqueFd socket_;
    boost::beast::flat_buffer buffer_;
};

/// Until somebody listens on that port of loopback. False: the child that should has ended, or `limit` is over, or
/// someone interrupts.
bool wait_until_reached(std::uint16_t port, Child const& child, base::milliseconds limit);

/// A port of loopback that nobody listens on right now.
std::uint16_t free_port();

}  // namespace bench
