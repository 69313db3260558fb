#include "ticking.hpp"

namespace host {

using mcp::Task;
using mcp::ToolResult;

void Ticking::progress(double progress, std::optional<double> total, std::string message) {
    spoke_ = true;
    if (total) *total += ticked_;
    call_.progress(progress + ticked_, total, std::move(message));
}

// Until it is cancelled: to end by itself would end what it accompanies.
Task<void> Ticking::tick(std::string doing, base::milliseconds every) {
    auto const begun = base::Clock::now();
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (;;) {
        timer.expires_after(every);
        auto const [ec] = co_await timer.async_wait(base::as_tuple);
        if (ec) co_return;
        if (spoke_) continue;
        ticked_ = std::chrono::duration<double>(base::Clock::now() - begun).count();
        call_.progress(ticked_, std::nullopt, std::to_string(static_cast<long>(ticked_)) + " s: " + doing);
    }
}

Task<ToolResult> Ticking::run(Task<ToolResult> op, std::string doing, base::milliseconds every) {
    namespace ax = asio::experimental;
    auto const executor = co_await asio::this_coro::executor;
    auto ticks = tick(std::move(doing), every);
    auto race = ax::make_parallel_group(asio::co_spawn(executor, std::move(op), asio::deferred),
                                        asio::co_spawn(executor, std::move(ticks), asio::deferred));
    // Both have ended when this resumes, so that no tick comes after the answer.
    auto [order, thrown, result, ticks_thrown] = co_await race.async_wait(ax::wait_for_one(), asio::use_awaitable);
    if (thrown) std::rethrow_exception(thrown);
    co_return std::move(result);
}

}  // namespace host
