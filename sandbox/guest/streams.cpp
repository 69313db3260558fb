#include "streams.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace guest {
namespace {

using protocol::Kind;

constexpr std::size_t kMaxStreams = 1024;
constexpr std::size_t kChunk = protocol::kMaxFromGuest - protocol::kHeaderBytes;

void send_quickly(int fd) {
    int const on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Streams::Streams(Loop& loop, Link& link) : loop_(loop), link_(link) {}

void Streams::connect(std::uint32_t request, Json const& j) {
    int const port = j.value("port", 0);
    if (port < 1 || port > 65535)
        return link_.fail(request, "invalid", "no such port: " + std::to_string(port));
    if (streams_.size() >= kMaxStreams) return link_.fail(request, "busy", "too many connections");
    auto s = std::make_shared<Stream>();
    s->id = request;
    s->port = port;
    s->connecting = true;
    streams_[s->id] = s;
    if (!dial(s, false) && !dial(s, true)) {
        link_.fail(request, "unavailable",
                   "connect to port " + std::to_string(port) + ": " + std::strerror(errno));
        streams_.erase(request);
    }
}

bool Streams::dial(Ptr const& s, bool v6) {
    s->second_try = v6;
    int const fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    sockaddr_in a4{};
    a4.sin_family = AF_INET;
    a4.sin_port = htons(static_cast<std::uint16_t>(s->port));
    a4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 a6{};
    a6.sin6_family = AF_INET6;
    a6.sin6_port = a4.sin_port;
    a6.sin6_addr = in6addr_loopback;
    int const rc = v6 ? ::connect(fd, reinterpret_cast<sockaddr*>(&a6), sizeof a6)
                      : ::connect(fd, reinterpret_cast<sockaddr*>(&a4), sizeof a4);
    if (rc != 0 && errno != EINPROGRESS) {
        int const saved = errno;
        ::close(fd);
        errno = saved;
        return false;
    }
    s->fd = fd;
    loop_.watch(fd, EPOLLOUT, [this, weak = std::weak_ptr(s)](std::uint32_t events) {
        if (auto self = weak.lock()) ready(self, events);
    });
    return true;
}

void Streams::connected(Ptr const& s) {
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    if (error != 0) {
        loop_.forget(s->fd);
        ::close(std::exchange(s->fd, -1));
        if (!s->second_try && dial(s, true)) return;
        link_.fail(s->id, "unavailable",
                   "connect to port " + std::to_string(s->port) + ": " + std::strerror(error));
        streams_.erase(s->id);
        return;
    }
    s->connecting = false;
    send_quickly(s->fd);
    link_.reply(s->id, Json::object());
    pump_in(s);
}

void Streams::take(std::uint32_t request, int fd, std::string program) {
    auto s = std::make_shared<Stream>();
    s->id = request;
    s->fd = fd;
    s->program = std::move(program);
    streams_[s->id] = s;
    loop_.watch(fd, 0, [this, weak = std::weak_ptr(s)](std::uint32_t events) {
        if (auto self = weak.lock()) ready(self, events);
    });
    update(s);
}

void Streams::attach(std::uint32_t request, Json const& j) {
    auto const it = parked_.find(j.value("id", ""));
    if (it == parked_.end()) return link_.fail(request, "not_found", "its stdin and stdout are not waiting");
    auto const s = it->second;
    parked_.erase(it);
    s->id = request;
    s->credit = protocol::kWindow;
    s->to_grant = 0;
    s->inherited = static_cast<std::uint32_t>(s->pending.size());
    streams_[s->id] = s;
    loop_.watch(s->fd, 0, [this, weak = std::weak_ptr(s)](std::uint32_t events) {
        if (auto self = weak.lock()) ready(self, events);
    });
    link_.reply(request, Json::object());
    if (s->read_ended) link_.send(Kind::shut, s->id);
    pump_in(s);
}

int Streams::listen(int port) {
    if (listener_ >= 0) return port_;
    int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    int const on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, 64) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        int const saved = errno;
        ::close(fd);
        errno = saved;
        return -1;
    }
    listener_ = fd;
    port_ = ntohs(address.sin_port);
    loop_.watch(fd, EPOLLIN, [this](std::uint32_t) { accept_some(); });
    return port_;
}

void Streams::close_listener() {
    if (listener_ < 0) return;
    loop_.forget(listener_);
    ::close(std::exchange(listener_, -1));
}

void Streams::accept_some() {
    for (int turn = 0; turn < 16; ++turn) {
        int const fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0 && errno != EAGAIN) {  // out of descriptors: readiness would spin
            loop_.change(listener_, 0);
            loop_.after(200, [this] {
                if (listener_ >= 0) loop_.change(listener_, EPOLLIN);
            });
        }
        if (fd < 0) return;
        if (streams_.size() >= kMaxStreams) {
            ::close(fd);
            continue;
        }
        send_quickly(fd);
        auto s = std::make_shared<Stream>();
        do s->id = protocol::kGuestStreamBit | (next_id_++ & ~protocol::kGuestStreamBit);
        while (streams_.contains(s->id));
        s->fd = fd;
        streams_[s->id] = s;
        loop_.watch(fd, 0, [this, weak = std::weak_ptr(s)](std::uint32_t events) {
            if (auto self = weak.lock()) ready(self, events);
        });
        link_.send(Kind::open, s->id);
        update(s);
    }
}

void Streams::ready(Ptr const& s, std::uint32_t events) {
    if (s->connecting) return connected(s);
    if (events & (EPOLLOUT | EPOLLERR)) pump_in(s);
    if (s->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) pump_out(s);
}

void Streams::pump_out(Ptr const& s) {
    static char chunk[kChunk];
    while (!s->read_ended && !s->closing && s->credit > 0 && !link_.congested()) {
        ssize_t const n = ::recv(s->fd, chunk, std::min<std::size_t>(sizeof chunk, s->credit), 0);
        if (n > 0) {
            s->credit -= static_cast<std::uint32_t>(n);
            link_.send(Kind::data, s->id, {chunk, static_cast<std::size_t>(n)});
            if (static_cast<std::size_t>(n) < sizeof chunk)
                break;  // all there was; more makes it readable again
        } else if (n == 0) {
            s->read_ended = true;
            link_.send(Kind::shut, s->id);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return drop(s, true);
        }
    }
    update(s);
}

void Streams::pump_in(Ptr const& s) {
    std::size_t sent = 0;
    while (sent < s->pending.size()) {
        ssize_t const n = ::send(s->fd, s->pending.data() + sent, s->pending.size() - sent, MSG_NOSIGNAL);
        if (n >= 0)
            sent += static_cast<std::size_t>(n);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return drop(s, true);
    }
    s->pending.erase(0, sent);
    auto const old = std::min<std::size_t>(sent, s->inherited);  // nobody here waits for its room
    s->inherited -= static_cast<std::uint32_t>(old);
    s->to_grant += static_cast<std::uint32_t>(sent - old);
    if (s->to_grant >= protocol::kWindow / 4 && !s->closing) {
        std::string credit;
        protocol::store32(credit, std::exchange(s->to_grant, 0));
        link_.send(Kind::credit, s->id, credit);
    }
    if (s->pending.empty() && s->write_ended && !s->write_closed) {
        ::shutdown(s->fd, SHUT_WR);
        s->write_closed = true;
    }
    if (s->pending.empty() && s->closing) return drop(s, false);
    update(s);
}

/// Sets what readiness matters now, and ends a stream whose both directions have.
void Streams::update(Ptr const& s) {
    if (s->fd < 0 || s->connecting) return;
    if (s->read_ended && s->write_closed) return drop(s, false);
    bool const read = !s->read_ended && !s->closing && s->credit > 0 && !link_.congested();
    loop_.change(s->fd, (read ? EPOLLIN : 0u) | (s->pending.empty() ? 0u : EPOLLOUT));
}

void Streams::drop(Ptr const& s, bool tell) {
    if (s->fd >= 0) {
        loop_.forget(s->fd);
        ::close(std::exchange(s->fd, -1));
    }
    streams_.erase(s->id);
    if (tell && !s->closing) link_.send(Kind::close, s->id);
}

void Streams::frame(protocol::Frame const& frame) {
    auto const it = streams_.find(frame.id);
    if (it == streams_.end()) return;  // crossed with our close
    auto const s = it->second;
    switch (frame.kind) {
        case Kind::data:
            if (s->write_ended || s->closing ||
                s->pending.size() + s->to_grant + frame.payload.size() > protocol::kWindow + s->inherited)
                return drop(s, true);
            s->pending.append(frame.payload);
            if (!s->touched) touched_.push_back(s);
            s->touched = true;
            return;
        case Kind::credit:
            if (frame.payload.size() != 4) return;
            s->credit += std::min(protocol::load32(frame.payload.data()), protocol::kWindow - s->credit);
            return update(s);
        case Kind::shut:
            s->write_ended = true;
            if (!s->connecting) pump_in(s);
            return;
        case Kind::close:
            s->closing = true;
            if (s->connecting) return drop(s, false);
            return pump_in(s);
        default:
            return;
    }
}

void Streams::pump_touched() {
    for (auto const& s : std::exchange(touched_, {})) {
        s->touched = false;
        if (s->fd >= 0 && !s->connecting) pump_in(s);
    }
}

void Streams::close_all() {
    auto const all = std::exchange(streams_, {});
    for (auto const& [id, s] : all) {
        s->closing = true;
        drop(s, false);
    }
}

int Streams::quiesce() {
    pump_touched();
    if (listener_ >= 0) loop_.change(listener_, 0);
    int count = 0;
    auto const all = std::exchange(streams_, {});
    for (auto const& [id, s] : all) {
        if (!s->program.empty() && !s->closing && !parked_.contains(s->program)) {
            loop_.forget(s->fd);
            link_.send(Kind::close, id);
            parked_[s->program] = s;
            continue;
        }
        ++count;
        if (s->connecting) link_.fail(id, "unavailable", "the sandbox is put to sleep");
        drop(s, true);
    }
    return count;
}

void Streams::accept_again() {
    if (listener_ >= 0) loop_.change(listener_, EPOLLIN);
}

void Streams::resume() {
    std::vector<Ptr> all;
    for (auto const& [id, s] : streams_) all.push_back(s);
    for (auto const& s : all) update(s);
}

}  // namespace guest
