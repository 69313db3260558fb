#include "listener.hpp"

#include "connection.hpp"

#include <grp.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace http {
namespace {

using Endpoint = asio::ip::tcp::endpoint;
using LocalEndpoint = asio::local::stream_protocol::endpoint;

constexpr int accepts_per_turn = 64;  ///< then other connections get their turn
constexpr int socket_flags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

std::string text(Endpoint const& endpoint) {
    auto const address = endpoint.address().to_string();
    auto const host = endpoint.address().is_v6() ? "[" + address + "]" : address;
    return host + ":" + std::to_string(endpoint.port());
}

/// Whoever has one IPv6 address has the rest of its /64 as well.
std::string network_of(asio::ip::address const& address) {
    if (address.is_v4() || address.to_v6().is_v4_mapped()) {
        auto const plain = address.is_v4() ? address.to_v4() : asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
        return plain.to_string();
    }
    auto bytes = address.to_v6().to_bytes();
    std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
    return asio::ip::address_v6(bytes).to_string();
}

base::Result<gid_t> group_id(std::string const& name) {
    group entry{}, *found = nullptr;
    std::vector<char> space(1024);
    int result = 0;
    while ((result = ::getgrnam_r(name.c_str(), &entry, space.data(), space.size(), &found)) == ERANGE &&
           space.size() < 1024 * 1024)
        space.resize(space.size() * 2);
    if (result != 0) return base::errno_error(result, "look up group " + name);
    if (!found) return base::error(base::errc::not_found, "no group " + name);
    return entry.gr_gid;
}

/// A socket file that a dead server left is removed; one that answers, or anything else, stays and is in the
/// way.
base::Status remove_stale(LocalEndpoint const& endpoint, std::string const& what) {
    struct stat info {};
    if (::lstat(endpoint.path().c_str(), &info) != 0) return {};
    base::UniqueFd const probe(::socket(AF_UNIX, socket_flags, 0));
    if (!probe) return base::errno_error(what);
    bool const dead = S_ISSOCK(info.st_mode) &&
                      ::connect(probe.get(), endpoint.data(), endpoint.size()) != 0 && errno == ECONNREFUSED;
    if (!dead) return base::errno_error(EADDRINUSE, what);
    if (::unlink(endpoint.path().c_str()) != 0) return base::errno_error(what);
    return {};
}

}  // namespace

base::Result<std::shared_ptr<Listener>> Listener::tcp(asio::io_context& io, std::string const& address,
                                                      std::uint16_t port, std::optional<TlsFiles> tls, Names names) {
    std::string const named = "listen on " + address + ":" + std::to_string(port);
    boost::system::error_code ec;
    auto const ip = asio::ip::make_address(address, ec);
    if (ec) return base::error(base::errc::invalid, named + ": not an IP address");
    Endpoint const endpoint(ip, port);
    auto const what = "listen on " + text(endpoint);
    std::optional<Certificate> certificate;
    if (tls) {
        auto loaded = Certificate::load(std::move(*tls));
        if (!loaded) return base::wrap(std::move(loaded).error(), what);
        certificate = std::move(*loaded);
    }
    base::UniqueFd fd(::socket(endpoint.protocol().family(), socket_flags, IPPROTO_TCP));
    if (!fd) return base::errno_error(what);
    int const on = 1;
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
        ::listen(fd.get(), SOMAXCONN) != 0)
        return base::errno_error(what);
    std::shared_ptr<Listener> listener(new Listener(io, std::move(fd)));
    listener->certificate_ = std::move(certificate);
    listener->names_ = names;
    return listener;
}

base::Result<std::shared_ptr<Listener>> Listener::local(asio::io_context& io, std::string const& path,
                                                        std::string const& group) {
    auto const what = "listen on " + path;
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path))
        return base::error(base::errc::invalid, what + ": a socket's path has 1 to 107 bytes");
    LocalEndpoint const endpoint(path);
    if (auto clear = remove_stale(endpoint, what); !clear) return std::move(clear).error();
    base::UniqueFd fd(::socket(AF_UNIX, socket_flags, 0));
    if (!fd) return base::errno_error(what);
    if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0)
        return base::errno_error(what);
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return base::errno_error(what);
    std::shared_ptr<Listener> listener(new Listener(io, std::move(fd)));
    listener->path_ = path;  // from here on, removed with the listener
    listener->inode_ = info.st_ino;
    // Nobody can connect before listen(), so group and mode are in force for the first client.
    if (!group.empty()) {
        auto const gid = group_id(group);
        if (!gid) return base::wrap(gid.error(), what);
        if (::lchown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) return base::errno_error(what);
    }
    if (::chmod(path.c_str(), 0660) != 0) return base::errno_error(what);
    if (::listen(listener->socket_.native_handle(), SOMAXCONN) != 0) return base::errno_error(what);
    return listener;
}

base::Result<std::shared_ptr<Listener>> Listener::adopt(asio::io_context& io, base::UniqueFd fd, bool tls) {
    std::optional<Certificate> certificate;
    if (tls) {
        auto made = Certificate::make();
        if (!made) return std::move(made).error();
        certificate = std::move(*made);
    }
    std::shared_ptr<Listener> listener(new Listener(io, std::move(fd)));
    listener->certificate_ = std::move(certificate);
    listener->names_ = Names::sites;
    return listener;
}

Listener::~Listener() { close(); }

Endpoint Listener::endpoint() const {
    Endpoint result;
    socklen_t size = static_cast<socklen_t>(result.capacity());
    auto& socket =
        const_cast<asio::posix::stream_descriptor&>(socket_);  // native_handle() is not const in Asio
    if (::getsockname(socket.native_handle(), result.data(), &size) == 0) result.resize(size);
    return result;
}

void Listener::close() {
    if (!socket_.is_open()) return;
    boost::system::error_code ignored;
    socket_.close(ignored);
    struct stat info {};
    if (!path_.empty() && ::lstat(path_.c_str(), &info) == 0 && info.st_ino == inode_)
        ::unlink(path_.c_str());
}

base::Task<void> Listener::accept(std::shared_ptr<Listener> self, std::shared_ptr<Core> core) {
    bool const local = !self->path_.empty();
    auto const from = local                              ? From::local
                      : self->names_ == Names::sites ? From::sites
                                                     : From::anywhere;
    while (self->socket_.is_open()) {
        auto [ec] =
            co_await self->socket_.async_wait(asio::posix::stream_descriptor::wait_read, base::as_tuple);
        if (ec) co_return;
        for (int i = 0; i < accepts_per_turn; ++i) {
            bool const room = co_await core->room(from);
            if (!room || !self->socket_.is_open()) co_return;
            Endpoint peer;
            socklen_t size = static_cast<socklen_t>(peer.capacity());
            sockaddr* const address = local ? nullptr : peer.data();
            base::UniqueFd fd(::accept4(self->socket_.native_handle(), address, local ? nullptr : &size,
                                        SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd) {
                if (errno == ECONNABORTED || errno == EINTR) continue;
                // Out of descriptors or memory: the connection stays in the queue, and asking at once would
                // spin.
                if (errno != EAGAIN) co_await base::sleep_for(std::chrono::milliseconds(100));
                break;
            }
            int family = AF_UNIX;
            std::string network;
            if (!local) {
                peer.resize(size);
                bool const proxy = core->options().trusted_proxies.has(peer.address());
                if (!proxy) network = network_of(peer.address());
                if (!proxy && !core->admits(network)) continue;  // closed at once: waiting, it would keep the others out
                family = peer.protocol().family();
                int const on = 1;
                ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            }
            Stream::Socket socket(core->io());
            boost::system::error_code failed;
            socket.assign(asio::generic::stream_protocol(family, 0), fd.get(), failed);
            if (failed) continue;
            fd.release();
            auto tls = self->certificate_ ? self->certificate_->current() : nullptr;
            std::string name = local ? "unix" : text(peer);
            auto connection = std::make_shared<Connection>(core, std::move(socket), std::move(tls),
                                                           std::move(name), std::move(network), from);
            auto task = Connection::run(std::move(connection));
            asio::co_spawn(core->io(), std::move(task), asio::detached);
        }
    }
}

}  // namespace http
