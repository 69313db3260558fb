#pragma once
#include <base/blocking.hpp>
#include <base/ids.hpp>
#include <http/server.hpp>
#include <workspace/workspaces.hpp>

#include <cstdint>
#include <string>

namespace host {

/// Files of any size in and out of a workspace over HTTP, by links that are their own credential: signed, for one file,
/// one direction and a limited time. They outlive a restart of the server and end with their workspace.
/// Threads: the I/O thread.
class Transfers {
  public:
    enum class Direction { upload, download };
    struct Link {
        std::string owner, workspace, path;
        Direction direction{};
        std::int64_t expires_ms = 0;  ///< Unix time
    };

    Transfers(workspace::Workspaces& workspaces, base::BlockingPool& pool) : workspaces_(workspaces), pool_(pool) {}
    /// `key` signs; `base_url` is where this server is reached ("http://127.0.0.1:7777"), "" = over `socket` only.
    void open(std::string key) { key_ = base::Secret(std::move(key)); }
    void reached_at(std::string base_url, std::string socket) {
        base_url_ = std::move(base_url);
        socket_ = std::move(socket);
    }

    std::string url(Link const&) const;
    /// A command that uses the link, for people and for models with a shell of their own.
    std::string curl(Link const&) const;
    /// GET (with Range), HEAD and PUT of /transfer/*.
    std::vector<http::Route> routes();

    /// The part of a URL behind /transfer/. errc::denied: not one of ours, or expired.
    std::string seal(Link const&) const;
    base::Result<Link> unseal(std::string_view token) const;

  private:
    base::Task<void> download(Link link, http::Request request, http::Reply& reply);
    base::Task<void> upload(Link link, http::Reply& reply);

    workspace::Workspaces& workspaces_;
    base::BlockingPool& pool_;
    base::Secret key_;
    std::string base_url_, socket_;
};

/// What a Range header asks of a file of `size` bytes. nullopt: all of it (no header, or none we serve);
/// `unsatisfiable`: nothing of it exists.
struct ByteRange {
    std::uint64_t first = 0, count = 0;
    bool unsatisfiable = false;
};
std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size);

}  // namespace host
