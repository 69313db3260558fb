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
    auto run = [work = std::move(work)]() mutable -> Task<T> { co_return work(); };
    auto on_pool = asio::co_spawn(pool, std::move(run), asio::deferred);
    auto [thrown, result] = co_await std::move(on_pool)(asio::as_tuple(asio::use_awaitable));
    if (thrown) std::rethrow_exception(thrown);
    co_return std::move(result);
}

}  // namespace base
