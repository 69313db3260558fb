#include "stdio_socket.hpp"

#include "stdio_bridge.hpp"

#include <base/syscalls.hpp>
#include <base/timeout.hpp>

#include <boost/asio/local/stream_protocol.hpp>
#include <spdlog/spdlog.h>

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

namespace host {
namespace {

using Protocol = asio::local::stream_protocol;

constexpr int kMaxClients = 64;
constexpr base::milliseconds kFirstClient{10'000};

}  // namespace

struct StdioSocket::State {
    State(asio::io_context& context, Serve serve_client, Options o)
        : io(context), serve(std::move(serve_client)), options(std::move(o)), acceptor(context), first(context) {}

    void close() {
        boost::system::error_code ignored;
        first.cancel();
        if (!acceptor.is_open()) return;
        // The name first: who finds it gone starts a server of their own, who finds it dead waits.
        (void)base::sys::unlink(options.path);
        acceptor.close(ignored);
    }

    void desert() {
        close();
        if (auto deserted = std::exchange(options.on_deserted, nullptr)) deserted();
    }

    static base::Task<void> accept(std::shared_ptr<State> self) {
        while (self->acceptor.is_open()) {
            Protocol::socket socket(self->io);
            auto [ec] = co_await self->acceptor.async_accept(socket, base::as_tuple);
            if (!self->acceptor.is_open()) co_return;
            if (ec) {  // out of descriptors: the connection stays in the queue, and asking at once would spin
                co_await base::sleep_for(base::milliseconds(100));
                continue;
            }
            if (self->clients >= kMaxClients) continue;
            ++self->clients;
            self->first.cancel();
            boost::system::error_code ignored;
            base::UniqueFd fd(socket.release(ignored));
            auto task = client(self, std::move(fd));
            asio::co_spawn(self->io, std::move(task), asio::detached);
        }
    }

    static base::Task<void> client(std::shared_ptr<State> self, base::UniqueFd fd) {
        bool const greeted = ::send(fd.get(), kStdioGreeting, sizeof kStdioGreeting - 1, MSG_NOSIGNAL) ==
                             static_cast<ssize_t>(sizeof kStdioGreeting - 1);
        if (greeted) co_await self->serve(fd.get());
        if (--self->clients > 0 || !self->options.on_deserted) co_return;
        self->last = std::move(fd);
        self->desert();
    }

    asio::io_context& io;
    Serve serve;
    Options options;
    Protocol::acceptor acceptor;
    asio::steady_timer first;
    base::UniqueFd last;
    int clients = 0;
};

StdioSocket::StdioSocket(asio::io_context& io, Serve serve, Options options)
    : state_(std::make_shared<State>(io, std::move(serve), std::move(options))) {}

StdioSocket::~StdioSocket() {
    state_->close();
    state_->last.release();  // the kernel closes it, once nothing of this process is left
}

base::Status StdioSocket::open() {
    auto const& path = state_->options.path;
    auto& acceptor = state_->acceptor;
    std::string const what = "listen on " + path;
    // The data directory is ours alone, so that a file here is what a dead server left.
    if (auto s = base::sys::unlink(path); !s) return base::wrap(s.error(), what);
    boost::system::error_code ec;
    Protocol::endpoint const endpoint(path);
    acceptor.open(endpoint.protocol(), ec);
    if (!ec) acceptor.bind(endpoint, ec);
    if (ec) return base::Error{ec, what};
    if (!state_->options.group.empty()) {
        auto const* group = ::getgrnam(state_->options.group.c_str());
        if (!group) return base::error(base::errc::not_found, "no group " + state_->options.group);
        if (::lchown(path.c_str(), static_cast<uid_t>(-1), group->gr_gid) != 0) return base::errno_error(what);
    }
    if (::chmod(path.c_str(), 0660) != 0) return base::errno_error(what);
    acceptor.listen(kMaxClients, ec);
    if (ec) return base::Error{ec, what};
    asio::co_spawn(state_->io, State::accept(state_), asio::detached);
    if (state_->options.on_deserted) {
        state_->first.expires_after(kFirstClient);
        state_->first.async_wait([weak = std::weak_ptr(state_)](boost::system::error_code timer_ec) {
            if (auto self = weak.lock(); self && !timer_ec && self->clients == 0) self->desert();
        });
    }
    return {};
}

void StdioSocket::close() { state_->close(); }

}  // namespace host
