#include "commands.hpp"

#include <thread>

namespace host {

int stdio(Options const& o, config::Settings settings) {
    asio::io_context io{1};
    settings.pools = {{settings.default_template, {2, 1}}};
    // Clients start a process to look at it, and the next one before the first has ended: wait for that one.
    constexpr base::milliseconds kPredecessorEnds{10'000};
    auto const give_up = base::Clock::now() + kPredecessorEnds;
    auto opened = Engine::open(io, engine_options(o, settings));
    while (!opened && base::is(opened.error(), base::errc::busy) && base::Clock::now() < give_up) {
        std::this_thread::sleep_for(base::milliseconds(20));
        opened = Engine::open(io, engine_options(o, settings));
    }
    if (!opened) return fail(opened.error().message());
    auto engine = std::move(*opened);
    int status = 0;
    asio::signal_set signals(io, SIGINT, SIGTERM);
    auto serve_client = [&]() -> base::Task<void> {
        mcp::Caller caller;  // named: g++ 12 destroys a temporary in a co_await expression twice
        caller.principal = "local";
        co_await engine->mcp().serve_stdio(0, 1, caller);
    };
    auto run = [&]() -> base::Task<void> {
        co_await engine->start(Engine::Filling::at_first_call);
        // A signal ends the session as the end of input does.
        auto race = asio::experimental::make_parallel_group(
            asio::co_spawn(io, serve_client(), asio::deferred), signals.async_wait(asio::deferred));
        (void)co_await race.async_wait(asio::experimental::wait_for_one(),
                                       asio::as_tuple(asio::use_awaitable));
        co_await engine->stop(true);
    };
    asio::co_spawn(io, run(), [&](std::exception_ptr e) {
        if (e) try {
                std::rethrow_exception(e);
            } catch (std::exception const& failure) {
                status = fail(failure.what());
            }
        io.stop();
    });
    io.run();
    return status;
}

}  // namespace host
