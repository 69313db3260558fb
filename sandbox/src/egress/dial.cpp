#include "dial.hpp"

#include <base/timeout.hpp>

#include <fcntl.h>
#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

namespace sandbox::egress {
namespace {

using base::errc;
using base::error;
using base::Result;
using base::Task;

constexpr std::size_t kMaxAddresses = 8;    // tried of one host

Result<Dialer::Addresses> look_up(std::string const& host) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* raw = nullptr;
    if (int const rc = ::getaddrinfo(host.c_str(), nullptr, &hints, &raw); rc != 0)
        return error(errc::unavailable, host + " could not be looked up: " + ::gai_strerror(rc));
    std::unique_ptr<addrinfo, void (*)(addrinfo*)> const list(raw, ::freeaddrinfo);
    Dialer::Addresses found;
    for (auto const* i = raw; i; i = i->ai_next) {
        asio::ip::tcp::endpoint endpoint;
        if (i->ai_addrlen > endpoint.capacity()) continue;
        std::memcpy(endpoint.data(), i->ai_addr, i->ai_addrlen);
        endpoint.resize(i->ai_addrlen);
        auto const address = endpoint.address();
        if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(address);
    }
    return found;
}

Task<Result<std::shared_ptr<Socket>>> connect(asio::ip::tcp::endpoint endpoint) {
    auto socket = std::make_shared<Socket>(co_await asio::this_coro::executor);
    boost::system::error_code ec;
    socket->open(endpoint.protocol(), ec);
    if (ec) co_return base::Error{ec, "open a socket"};
    (void)::fcntl(socket->native_handle(), F_SETFD, FD_CLOEXEC);
    auto const [failed] = co_await socket->async_connect(endpoint, base::as_tuple);
    if (failed) co_return base::Error{failed, "connect"};
    socket->set_option(asio::ip::tcp::no_delay(true), ec);
    socket->set_option(asio::socket_base::keep_alive(true), ec);
    co_return socket;
}

}  // namespace

/// One name, and whoever waits for its addresses.
struct Dialer::Lookup {
    std::optional<Result<Addresses>> result;    // the pool's until it posts, then the I/O thread's
    bool answered = false;
    std::set<asio::steady_timer*> waiting;
};

Dialer::Dialer(std::vector<std::string> const& insecure_private_addresses)
    : Dialer(insecure_private_addresses, look_up) {}

Dialer::Dialer(std::vector<std::string> const& insecure_private_addresses, LookUp resolver)
    : exempt_(insecure_private_addresses), look_up_(std::move(resolver)) {}

Dialer::~Dialer() {
    pool_.stop();    // what has not begun never will; what runs is waited for, as long as the resolver's own limit
    pool_.join();
}

std::string Dialer::why_refused(asio::ip::address const& a) const {
    if (exempt_.contain(a)) return "";
    auto why = why_private(a);
    if (why.empty() && of_this_machine(a)) why = "an address of this server";
    return why;
}

Task<Result<Dialer::Addresses>> Dialer::resolve(std::string host, base::milliseconds limit) {
    boost::system::error_code ec;
    auto const literal = asio::ip::make_address(host, ec);
    if (!ec) co_return Addresses(1, literal);
    auto executor = co_await asio::this_coro::executor;
    auto& known = (*lookups_)[host];
    if (!known) {
        if (lookups_->size() > kMaxLookups) {
            lookups_->erase(host);
            co_return error(errc::busy, "too many names are being looked up; try again");
        }
        known = std::make_shared<Lookup>();
        auto work = [lookup = known, host, executor, find = look_up_, lookups = lookups_] {
            lookup->result.emplace(find(host));
            asio::post(executor, [lookup, host, lookups] {
                lookups->erase(host);
                lookup->answered = true;
                for (auto* timer : lookup->waiting) timer->cancel();
            });
        };
        asio::post(pool_, std::move(work));
    }
    auto const lookup = known;
    asio::steady_timer wake(executor, limit);
    struct Waiting {
        Waiting(std::set<asio::steady_timer*>& all, asio::steady_timer& one) : in(all), timer(&one) { in.insert(timer); }
        ~Waiting() { in.erase(timer); }
        Waiting(Waiting const&) = delete;
        Waiting& operator=(Waiting const&) = delete;
        std::set<asio::steady_timer*>& in;
        asio::steady_timer* timer;
    } const waiting(lookup->waiting, wake);
    auto const [waited] = co_await wake.async_wait(base::as_tuple);
    if (lookup->answered) co_return *lookup->result;
    if (waited) co_return error(errc::cancelled, "look up " + host);
    co_return error(errc::timed_out, host + " could not be looked up in time");
}

Task<Result<std::shared_ptr<Socket>>> Dialer::dial(std::string host, int port, base::milliseconds limit) {
    auto const end = base::Clock::now() + limit;
    auto addresses = co_await resolve(host, limit);
    if (!addresses) co_return addresses.error();

    std::string refused;
    Addresses open;
    for (auto const& a : *addresses) {
        auto why = why_refused(a);
        if (why.empty()) open.push_back(a);
        else refused = std::move(why);
    }
    if (open.empty())
        co_return error(errc::denied, host + " is " + (refused.empty() ? "of no known address" : refused) +
                                          "; workspaces reach public addresses only");
    open.resize(std::min(open.size(), kMaxAddresses));

    base::Error last = error(errc::timed_out, host + " did not answer in time");
    for (std::size_t i = 0; i < open.size(); ++i) {
        // A silent address leaves the others their share of the time.
        auto const left = std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now());
        auto const share = left / static_cast<int>(open.size() - i);
        if (share.count() <= 0) break;
        asio::ip::tcp::endpoint const endpoint(open[i], static_cast<unsigned short>(port));
        auto socket = co_await base::with_timeout(connect(endpoint), share, host + " did not answer in time");
        if (socket) co_return std::move(*socket);
        last = socket.error();
        if (is(last, errc::cancelled)) co_return last;
        if (last.context == "connect")
            last = error(errc::unavailable, "connect to " + host + ":" + std::to_string(port) + ": " + last.code.message());
    }
    co_return last;
}

}  // namespace sandbox::egress
