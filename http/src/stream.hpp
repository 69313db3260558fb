#pragma once
#include "tls.hpp"

#include <boost/asio/ssl/stream.hpp>

namespace http {

/// The bytes of one connection, whichever of TCP, Unix or TLS carries them. No limits of its own.
class Stream {
  public:
    using Socket = asio::generic::stream_protocol::socket;
    using Count = base::Result<std::size_t>;

    Stream(Socket socket, std::shared_ptr<asio::ssl::context> tls);

    bool is_tls() const { return tls_.has_value(); }
    Socket& socket() { return socket_; }
    base::Task<base::Status> handshake();
    base::Task<Count> read_some(asio::mutable_buffer);
    base::Task<Count> write_some(std::array<asio::const_buffer, 3> const&);
    /// Tells the peer that no more comes.
    base::Task<void> end_writing();
    void close();

  private:
    std::shared_ptr<asio::ssl::context> context_;  ///< SSL_CTX is counted, but Asio's callbacks in it are not
    Socket socket_;
    std::optional<asio::ssl::stream<Socket&>> tls_;
};

}  // namespace http
