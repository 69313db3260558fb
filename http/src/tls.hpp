#pragma once
#include <http/server.hpp>

#include <boost/asio/ssl/context.hpp>

#include <sys/stat.h>

namespace http {

/// A listener's certificate. A running handshake keeps the context it began with, hence shared_ptr.
class Certificate {
  public:
    static base::Result<Certificate> load(TlsFiles);
    /// One that nobody can verify, made for the occasion.
    static base::Result<Certificate> make();

    /// The context for a new connection. Looks at the files at most once a second; when they changed but do
    /// not load (half of a pair replaced, say), the old pair serves on and the next look tries again.
    std::shared_ptr<asio::ssl::context> current();

  private:
    struct Stamp {
        struct timespec modified[2]{};
        ino_t inode[2]{};
        bool operator==(Stamp const&) const;
    };
    Certificate() = default;
    explicit Certificate(TlsFiles files) : files_(std::move(files)) {}
    Stamp stamp() const;

    TlsFiles files_;
    Stamp loaded_;
    base::Clock::time_point next_look_;
    std::shared_ptr<asio::ssl::context> context_;
};

}  // namespace http
