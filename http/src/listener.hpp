#pragma once
#include "core.hpp"
#include "tls.hpp"
#include <base/timeout.hpp>
#include <base/unique_fd.hpp>

namespace http {

/// One listening socket.
class Listener {
  public:
    static base::Result<std::shared_ptr<Listener>> tcp(asio::io_context&, std::string const& address,
                                                       std::uint16_t port, std::optional<TlsFiles>, Names);
    static base::Result<std::shared_ptr<Listener>> local(asio::io_context&, std::string const& path,
                                                         std::string const& group);
    /// Of a TCP socket that listens already.
    static base::Result<std::shared_ptr<Listener>> adopt(asio::io_context&, base::UniqueFd, bool tls);
    ~Listener();

    asio::ip::tcp::endpoint endpoint() const;
    /// Ends `accept`, and removes a Unix socket's file.
    void close();
    /// Makes connections until closed. Owned by the coroutine and the Server.
    static base::Task<void> accept(std::shared_ptr<Listener>, std::shared_ptr<Core>);

  private:
    Listener(asio::io_context& io, base::UniqueFd fd) : socket_(io, fd.release()) {}

    asio::posix::stream_descriptor socket_;
    std::optional<Certificate> certificate_;
    Names names_ = Names::all;
    std::string path_;  ///< of a Unix socket
    ino_t inode_ = 0;   ///< of its file, so that a successor's is not removed
};

}  // namespace http
