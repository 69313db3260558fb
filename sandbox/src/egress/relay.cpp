#include "relay.hpp"

#include <boost/system/system_error.hpp>

namespace sandbox::egress {
namespace {

using base::Task;

constexpr std::size_t kRelayBuffer = 32 * 1024;

// Thrown to end the other direction too.
[[noreturn]] void over() { throw boost::system::system_error(asio::error::eof); }

struct Ends {
    base::ByteStream& guest;
    Socket& server;
    Request const& request;
    base::Clock::time_point moved = base::Clock::now();
};

Task<void> up(Ends& ends, std::string early) {
    Body body(ends.request);
    std::string buffer = std::move(early);
    std::size_t have = buffer.size();
    if (buffer.size() < kRelayBuffer) buffer.resize(kRelayBuffer);
    for (;;) {
        if (have > 0) {
            std::size_t const n = ends.request.connect ? have : body.take({buffer.data(), have});
            auto const [ec, written] = co_await asio::async_write(ends.server, asio::buffer(buffer.data(), n), base::as_tuple);
            if (ec || body.bad()) over();
            ends.moved = base::Clock::now();
        }
        if (!ends.request.connect && body.done()) co_return;
        auto const got = co_await ends.guest.read_some(asio::buffer(buffer));
        if (!got || (*got == 0 && !ends.request.connect)) over();
        ends.moved = base::Clock::now();
        if (*got == 0) {
            boost::system::error_code ignored;
            ends.server.shutdown(Socket::shutdown_send, ignored);
            co_return;
        }
        have = *got;
    }
}

Task<void> down(Ends& ends) {
    std::vector<char> buffer(kRelayBuffer);
    for (;;) {
        auto const [ec, n] = co_await ends.server.async_read_some(asio::buffer(buffer), base::as_tuple);
        if (ec && ec != asio::error::eof) over();
        ends.moved = base::Clock::now();
        if (ec) {
            ends.guest.shutdown_write();
            if (!ends.request.connect) over();    // whatever of the body the server did not want
            co_return;
        }
        auto const written = co_await ends.guest.write(asio::buffer(buffer.data(), n));
        if (!written) over();
        ends.moved = base::Clock::now();
    }
}

Task<void> both(Ends& ends, std::string early) {
    auto executor = co_await asio::this_coro::executor;
    auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, up(ends, std::move(early)), asio::deferred),
                                                         asio::co_spawn(executor, down(ends), asio::deferred));
    (void)co_await group.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
}

Task<void> watch(Ends& ends, base::milliseconds idle) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (base::Clock::now() - ends.moved < idle) {
        timer.expires_at(ends.moved + idle);
        auto const [ec] = co_await timer.async_wait(base::as_tuple);
        if (ec) co_return;
    }
}

}  // namespace

Task<void> relay(base::ByteStream& guest, Socket& server, Request const& request, std::string early, base::milliseconds idle) {
    Ends ends{guest, server, request};
    auto executor = co_await asio::this_coro::executor;
    auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, both(ends, std::move(early)), asio::deferred),
                                                         asio::co_spawn(executor, watch(ends, idle), asio::deferred));
    (void)co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
}

}  // namespace sandbox::egress
