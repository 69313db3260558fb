#include "stdio_bridge.hpp"

#include <base/asio.hpp>
#include <base/syscalls.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace host {
namespace {

using base::errc;
using base::error;

constexpr int kGreetingLimitMs = 10'000, kEndLimitMs = 30'000;
// Room for so much is what a pollable pipe promises (PIPE_BUF): a write of it does not block.
constexpr std::size_t kMaxToOut = 4096;

/// Bytes on their way in one direction.
struct Leg {
    std::array<char, kMaxFirst> bytes;
    std::size_t begin = 0, end = 0;
    bool open = true;  ///< the source may have more
    bool empty() const { return begin == end; }
    std::size_t size() const { return end - begin; }
    void sent(std::size_t n) {
        begin += n;
        if (begin == end) begin = end = 0;
    }
};

/// SIGTERM and SIGINT as something to be read, for as long as it exists or the process does.
class Endings {
  public:
    Endings() {
        ::sigemptyset(&signals_);
        ::sigaddset(&signals_, SIGTERM);
        ::sigaddset(&signals_, SIGINT);
        ::sigprocmask(SIG_BLOCK, &signals_, &before_);
        fd_ = base::UniqueFd(::signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK));
    }
    Endings(Endings const&) = delete;
    Endings& operator=(Endings const&) = delete;
    ~Endings() {
        // What was heeded is not to end the process once more.
        signalfd_siginfo heeded;
        while (fd_ && ::read(fd_.get(), &heeded, sizeof heeded) > 0) {}
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }
    base::UniqueFd const& fd() const { return fd_; }

  private:
    sigset_t signals_{}, before_{};
    base::UniqueFd fd_;
};

bool retry() { return errno == EINTR || errno == EAGAIN; }

}  // namespace

base::Result<base::UniqueFd> connect_stdio(std::string const& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return error(errc::invalid, "the path of the socket is too long: " + path);
    std::memcpy(address.sun_path, path.data(), path.size());
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::errno_error("socket");
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        if (errno == EACCES) return error(errc::denied, path);
        if (errno == EAGAIN) return error(errc::busy, path);  // its queue of connections is full
        return error(errc::not_found, path);
    }
    std::string greeting;
    while (greeting != kStdioGreeting) {
        pollfd p{fd.get(), POLLIN, 0};
        int const ready = ::poll(&p, 1, kGreetingLimitMs);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return error(errc::busy, path + " does not greet");
        char buffer[sizeof kStdioGreeting];
        auto const n = ::read(fd.get(), buffer, sizeof kStdioGreeting - 1 - greeting.size());
        if (n < 0 && retry()) continue;
        if (n <= 0) return error(errc::busy, path + " was closed");
        greeting.append(buffer, static_cast<std::size_t>(n));
        if (!std::string_view(kStdioGreeting).starts_with(greeting))
            return error(errc::invalid, path + " is not the socket of a berth server");
    }
    return fd;
}

base::Result<std::string> first_request(int in) {
    Endings const endings;
    if (!endings.fd()) return base::errno_error("signalfd");
    std::string bytes(kMaxFirst, '\0');
    for (;;) {
        pollfd p[2] = {{in, POLLIN, 0}, {endings.fd().get(), POLLIN, 0}};
        if (::poll(p, 2, -1) < 0 && errno != EINTR) return base::errno_error("poll");
        if (p[1].revents) return std::string();
        if (!p[0].revents) continue;
        auto const n = ::read(in, bytes.data(), bytes.size());
        if (n < 0 && retry()) continue;
        if (n <= 0) return std::string();
        auto const read = std::string_view(bytes).substr(0, static_cast<std::size_t>(n));
        // Blank lines ask for nothing.
        if (read.find_first_not_of(" \t\r\n") != read.npos) return std::string(read);
    }
}

base::Status bridge(int in, int out, base::UniqueFd connection, std::string const& first) {
    Endings const endings;
    auto const& signals = endings.fd();
    if (!signals) return base::errno_error("signalfd");

    auto const up = std::make_unique<Leg>(), down = std::make_unique<Leg>();
    up->end = first.copy(up->bytes.data(), up->bytes.size());
    bool finishing = false;  // the client is through: the end that the server now makes is the right one
    bool shut = false;
    base::Clock::time_point give_up{};
    for (;;) {
        if (!up->open && up->empty() && !shut) {
            ::shutdown(connection.get(), SHUT_WR);
            shut = true;
            give_up = base::Clock::now() + base::milliseconds(kEndLimitMs);
        }
        if (!down->open && down->empty())
            return finishing ? base::Status{} : error(errc::unavailable, "the server went away");
        // A negative descriptor is left out.
        pollfd p[4] = {{up->open && up->empty() ? in : -1, POLLIN, 0},
                       {connection.get(), 0, 0},
                       {down->empty() ? -1 : out, POLLOUT, 0},
                       {up->open ? signals.get() : -1, POLLIN, 0}};
        if (!up->empty()) p[1].events |= POLLOUT;
        if (down->open && down->empty()) p[1].events |= POLLIN;
        if (p[1].events == 0) p[1].fd = -1;  // else a peer that is gone would wake us for nothing
        int wait = -1;
        if (shut) {
            auto const left = std::chrono::duration_cast<base::milliseconds>(give_up - base::Clock::now()).count();
            if (left <= 0) return error(errc::timed_out, "the server did not end this connection");
            wait = static_cast<int>(left);
        }
        if (::poll(p, 4, wait) < 0 && errno != EINTR) return base::errno_error("poll");

        if (p[3].revents) {  // as if the input had ended: the server hears of it, and finishes
            finishing = true;
            up->open = false;
            up->sent(up->size());
        }
        if (p[0].revents && up->open) {
            auto const n = ::read(in, up->bytes.data(), up->bytes.size());
            if (n > 0) up->end = static_cast<std::size_t>(n);
            else if (n == 0 || !retry()) {
                finishing = true;
                up->open = false;
            }
        }
        if ((p[1].revents & (POLLOUT | POLLERR | POLLHUP)) && !up->empty()) {
            auto const n = ::send(connection.get(), up->bytes.data() + up->begin, up->size(), MSG_NOSIGNAL);
            if (n > 0) up->sent(static_cast<std::size_t>(n));
            else if (!retry()) {  // the server is gone: what it still said comes first
                up->open = false;
                up->sent(up->size());
            }
        }
        if ((p[1].revents & (POLLIN | POLLERR | POLLHUP)) && down->open && down->empty()) {
            auto const n = ::recv(connection.get(), down->bytes.data(), down->bytes.size(), 0);
            if (n > 0) down->end = static_cast<std::size_t>(n);
            else if (n == 0 || !retry()) down->open = false;
        }
        if (p[2].revents) {
            auto const n = ::write(out, down->bytes.data() + down->begin, std::min(down->size(), kMaxToOut));
            if (n > 0) down->sent(static_cast<std::size_t>(n));
            else if (!retry()) return {};  // the client is gone
        }
    }
}

}  // namespace host
