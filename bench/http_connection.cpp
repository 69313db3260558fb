#include "http_connection.hpp"

#include "interrupt.hpp"
#include <base/syscalls.hpp>

#include <boost/beast/http.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace bench {
namespace {

namespace http = boost::beast::http;

constexpr timeval kAnswerLimit{60, 0};

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

[[noreturn]] void broken(std::string const& what) {
    throw_if_interrupted();
    throw Failure(what);
}

}  // namespace

HttpConnection::HttpConnection(std::uint16_t port) : port_(port) { open(); }

void HttpConnection::renew() {
    char byte = 0;
    bool const ended = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    if (ended && buffer_.size() == 0) open();
}

void HttpConnection::open() {
    socket_ = base::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket_) throw Failure(base::errno_error("socket").message());
    auto const address = loopback(port_);
    int const on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit, sizeof kAnswerLimit);
    if (::connect(socket_.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
        broken(base::errno_error("connect to port " + std::to_string(port_)).message());
}

std::string HttpConnection::compose(std::string const& verb, std::string const& target,
                                    std::vector<std::string> const& fields, std::string const& body) const {
    std::string text = verb + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port_) + "\r\n";
    for (auto const& field : fields) text += field + "\r\n";
    if (verb != "GET") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return text + "\r\n" + body;
}

void HttpConnection::send(std::string const& bytes) {
    if (auto s = base::sys::write_all(socket_.get(), bytes, "send a request"); !s)
        broken(s.error().message());
}

HttpAnswer HttpConnection::receive() {
    http::response_parser<http::string_body> parser;
    parser.body_limit(64u << 20);
    parser.eager(true);
    for (;;) {
        boost::system::error_code ec;
        if (buffer_.size() > 0) {
            buffer_.consume(parser.put(buffer_.data(), ec));
            if (ec && ec != http::error::need_more) throw Failure("an answer is not HTTP: " + ec.message());
            if (parser.is_done()) break;
        }
        auto const room = buffer_.prepare(64 * 1024);
        auto const n = ::recv(socket_.get(), room.data(), room.size(), 0);
        if (n == 0) broken("the server closed the connection in place of an answer");
        if (n < 0) broken(base::errno_error("wait for an answer").message());
        buffer_.commit(static_cast<std::size_t>(n));
    }
    auto message = parser.release();
    HttpAnswer answer;
    answer.status = message.result_int();
    answer.session = message["Mcp-Session-Id"];
    answer.body = std::move(message.body());
    return answer;
}

bool wait_until_reached(std::uint16_t port, Child const& child, base::milliseconds limit) {
    for (auto const end = base::Clock::now() + limit;;) {
        try {
            HttpConnection const reached(port);
            return true;
        } catch (Failure const&) {
        } catch (Interrupted const&) {
            return false;
        }
        if (child.ended() || base::Clock::now() >= end || interrupted()) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

std::uint16_t free_port() {
    base::UniqueFd const probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto address = loopback(0);
    socklen_t size = sizeof address;
    if (!probe || ::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        throw Failure(base::errno_error("find a free port").message());
    return ntohs(address.sin_port);
}

}  // namespace bench
