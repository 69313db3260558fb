#pragma once
#include <base/asio.hpp>

#include <exception>
#include <optional>
#include <type_traits>

namespace base {

/// The pool for calls that may sleep in the kernel. Its size bounds how many do so at once.
using BlockingPool = asio::thread_pool;

/// Runs `work` on the pool and resumes the caller on its own executor with the result; an exception crosses over.
/// `work` must own what it uses: it is not cancelled, and may outlive a cancelled caller.
template <class Work>
auto blocking(BlockingPool& pool, Work work) -> Task<std::invoke_result_t<Work&>> {
    using T = std::invoke_result_t<Work&>;
    // Not by co_spawn: the caller's cancellation would reach the coroutine on the pool, and one that is cancelled while the
    // work runs throws where nobody catches (Boost 1.81, co_spawn_entry_point), which ends the process.
    auto initiate = [](auto handler, BlockingPool* on, Work task) {
        auto const executor = asio::get_associated_executor(handler);
        auto run = [handler = std::move(handler), task = std::move(task), keep = asio::make_work_guard(executor)]() mutable {
            std::exception_ptr failed;
            std::optional<T> value;
            try {
                value.emplace(task());
            } catch (...) {
                failed = std::current_exception();
            }
            auto const back = keep.get_executor();
            auto resume = [handler = std::move(handler), failed, value = std::move(value)]() mutable {
                std::move(handler)(failed, std::move(value));
            };
            asio::post(back, std::move(resume));
        };
        asio::post(*on, std::move(run));
    };
    auto token = as_tuple;
    auto started = asio::async_initiate<decltype(token), void(std::exception_ptr, std::optional<T>)>(initiate, token, &pool,
                                                                                                    std::move(work));
    auto [failed, value] = co_await std::move(started);
    if (failed) std::rethrow_exception(failed);
    co_return std::move(*value);
}

}  // namespace base
