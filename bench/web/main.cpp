// What the preview rows ask, and what asks it: a small HTTP/1.1 server and a client of it in one static file,
// so that the very same bytes run in a sandbox and outside.
//
//   berth-bench-web serve PORT
//   berth-bench-web ask PORT CONNECTIONS REQUESTS [FIELD]...   GETs of 1 KiB; prints the nanoseconds of all
//   together,
//                                                              then those of each, one a line
//   berth-bench-web down|up PORT BYTES [FIELD]...              one large body; prints its nanoseconds
//
// FIELD is a whole header line. Loopback only; a thread for each connection; any failure ends the program
// with 1.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = 256 * 1024, kMaxHead = 64 * 1024, kAnswer = 1024;
constexpr int kBacklog = 512;

[[noreturn]] void fail(std::string const& what) { throw std::runtime_error(what); }

std::uint64_t number(std::string_view text, int base = 10) {
    std::uint64_t value = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (ec != std::errc() || end == text.data()) fail("not a number: " + std::string(text));
    return value;
}

// The value of a field in a head in lower case, "" without it.
std::string_view field(std::string_view head, std::string_view name) {
    auto const at = head.find("\r\n" + std::string(name) + ":");
    if (at == head.npos) return {};
    auto const from = head.find_first_not_of(' ', at + name.size() + 3);
    return head.substr(from, head.find("\r\n", from) - from);
}

// One end of a connection: what it reads, and a buffer of what it has not looked at yet.
class Peer {
  public:
    explicit Peer(int fd) : fd_(fd) {
        int const on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ~Peer() { ::close(fd_); }
    Peer(Peer const&) = delete;
    Peer& operator=(Peer const&) = delete;

    static int to(std::uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            fail("cannot connect");
        return fd;
    }

    /// In lower case, with its blank line; nothing when the other side has ended before it.
    std::optional<std::string> head() {
        std::size_t searched = 0;
        for (;;) {
            auto const end = unread_.find("\r\n\r\n", searched);
            if (end != unread_.npos) {
                auto text = unread_.substr(0, end + 4);
                unread_.erase(0, end + 4);
                std::transform(text.begin(), text.end(), text.begin(),
                               [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
                return text;
            }
            searched = unread_.size() < 3 ? 0 : unread_.size() - 3;
            if (unread_.size() > kMaxHead) fail("a head without an end");
            if (!more()) {
                if (unread_.empty()) return std::nullopt;
                fail("a head was cut");
            }
        }
    }

    /// The body that follows `head`; its bytes.
    std::uint64_t skip_body(std::string_view head) {
        if (field(head, "transfer-encoding") == "chunked") return skip_chunks();
        auto const length = field(head, "content-length");
        if (length.empty()) return 0;
        auto const bytes = number(length);
        skip(bytes);
        return bytes;
    }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            auto const n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) fail("cannot send");
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    void send_zeros(std::uint64_t bytes) {
        static std::string const zeros(kBlock, '0');
        for (; bytes > 0; bytes -= std::min<std::uint64_t>(bytes, kBlock))
            send(std::string_view(zeros).substr(0, std::min<std::uint64_t>(bytes, kBlock)));
    }

  private:
    bool more() {
        auto const n = ::recv(fd_, block_.data(), block_.size(), 0);
        if (n > 0) unread_.append(block_.data(), static_cast<std::size_t>(n));
        return n > 0;
    }
    void skip(std::uint64_t bytes) {
        auto const here = std::min<std::uint64_t>(bytes, unread_.size());
        unread_.erase(0, here);
        for (bytes -= here; bytes > 0;) {
            auto const want = std::min<std::uint64_t>(bytes, block_.size());
            auto const n = ::recv(fd_, block_.data(), want, 0);
            if (n <= 0) fail("a body was cut");
            bytes -= static_cast<std::uint64_t>(n);
        }
    }
    std::uint64_t skip_chunks() {
        for (std::uint64_t all = 0;;) {
            std::size_t end;
            while ((end = unread_.find("\r\n")) == unread_.npos)
                if (!more()) fail("a chunk was cut");
            auto const bytes = number(unread_, 16);
            unread_.erase(0, end + 2);
            skip(bytes + 2);  // no trailers: neither of us sends any
            if (bytes == 0) return all;
            all += bytes;
        }
    }

    int fd_;
    std::string unread_;
    std::vector<char> block_ = std::vector<char>(kBlock);
};

void serve_connection(int fd) try {
    Peer visitor(fd);
    static std::string const small(kAnswer, 'a');
    while (auto const head = visitor.head()) {
        (void)visitor.skip_body(*head);
        auto const target = head->find(" /bytes/");
        bool const large = target != head->npos && target < head->find("\r\n");
        auto const bytes = large ? number(std::string_view(*head).substr(target + 8)) : kAnswer;
        auto answer = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
                      std::to_string(bytes) + "\r\n\r\n";
        visitor.send(large ? answer : answer + small);
        if (large) visitor.send_zeros(bytes);
    }
} catch (std::exception const&) {
    // The visitor went away: that is its own affair.
}

int serve(std::uint16_t port) {
    int const listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int const on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener, kBacklog) != 0)
        fail("cannot listen");
    std::cout << "ready" << std::endl;
    for (;;) {
        int const fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) std::thread(serve_connection, fd).detach();
    }
}

std::string request(std::string const& start, std::vector<std::string> const& fields,
                    std::uint64_t length = 0) {
    auto text = start + " HTTP/1.1\r\n";
    bool const hosted =
        std::any_of(fields.begin(), fields.end(), [](auto const& f) { return f.starts_with("Host:"); });
    if (!hosted) text += "Host: localhost\r\n";
    for (auto const& one : fields) text += one + "\r\n";
    if (length > 0) text += "Content-Length: " + std::to_string(length) + "\r\n";
    return text + "\r\n";
}

std::uint64_t answered(Peer& peer) {
    auto const head = peer.head();
    if (!head) fail("closed in place of an answer");
    auto const bytes = peer.skip_body(*head);
    if (!head->starts_with("http/1.1 200 ")) fail("answered: " + head->substr(0, head->find("\r\n")));
    return bytes;
}

int ask(std::uint16_t port, int connections, int requests, std::vector<std::string> const& fields) {
    std::vector<long long> took(static_cast<std::size_t>(requests));
    std::atomic<int> next{0};
    std::atomic<bool> failed{false};
    Clock::time_point began;
    std::barrier all_there(connections, [&began]() noexcept { began = Clock::now(); });
    auto const one = [&] {
        std::optional<Peer> peer;
        try {
            peer.emplace(Peer::to(port));
        } catch (std::exception const& e) {
            std::cerr << e.what() << std::endl;
            failed = true;
        }
        all_there.arrive_and_wait();
        auto const text = request("GET /", fields);
        try {
            for (int i = next++; i < requests && !failed; i = next++) {
                auto const from = Clock::now();
                peer->send(text);
                if (answered(*peer) != kAnswer) fail("a short answer");
                took[static_cast<std::size_t>(i)] = (Clock::now() - from).count();
            }
        } catch (std::exception const& e) {
            std::cerr << e.what() << std::endl;
            failed = true;
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < connections; ++i) threads.emplace_back(one);
    for (auto& t : threads) t.join();
    if (failed) return 1;
    std::string out = std::to_string((Clock::now() - began).count()) + "\n";
    for (auto const ns : took) out += std::to_string(ns) + "\n";
    std::cout << out;
    return 0;
}

int move(bool down, std::uint16_t port, std::uint64_t bytes, std::vector<std::string> const& fields) {
    Peer peer(Peer::to(port));
    auto const from = Clock::now();
    if (down) {
        peer.send(request("GET /bytes/" + std::to_string(bytes), fields));
        if (answered(peer) != bytes) fail("a short answer");
    } else {
        peer.send(request("POST /", fields, bytes));
        peer.send_zeros(bytes);
        (void)answered(peer);
    }
    std::cout << (Clock::now() - from).count() << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    static_assert(std::is_same_v<Clock::period, std::nano>);
    std::signal(SIGPIPE, SIG_IGN);
    std::vector<std::string> const words(argv + 1, argv + argc);
    auto const fields = [&words](std::size_t from) {
        return std::vector(words.begin() + static_cast<std::ptrdiff_t>(from), words.end());
    };
    auto const port = [&words] { return static_cast<std::uint16_t>(number(words[1])); };
    if (words.size() == 2 && words[0] == "serve") return serve(port());
    if (words.size() >= 4 && words[0] == "ask")
        return ask(port(), static_cast<int>(number(words[2])), static_cast<int>(number(words[3])), fields(4));
    if (words.size() >= 3 && (words[0] == "down" || words[0] == "up"))
        return move(words[0] == "down", port(), number(words[2]), fields(3));
    std::cerr
        << "usage: serve PORT, ask PORT CONNECTIONS REQUESTS [FIELD]..., down|up PORT BYTES [FIELD]...\n";
    return 2;
} catch (std::exception const& e) {
    std::cerr << e.what() << std::endl;
    return 1;
}
