#pragma once
#include <base/asio.hpp>
#include <base/syscalls.hpp>

#include <functional>
#include <utility>
#include <vector>

namespace testing_support {

/// Does `action` within a turn of the loop whose further events are of descriptors that were just closed. Asio uses its records
/// of descriptors again, so that what `action` opens is told of events that are not its own.
inline void among_stale_events(asio::io_context& context, std::function<void()> action) {
    constexpr int kStale = 16;
    std::vector<asio::posix::stream_descriptor> ears;
    std::vector<base::UniqueFd> mouths;
    bool done = false;
    for (int i = 0; i <= kStale; ++i) {
        auto ends = base::sys::pipe();
        ears.emplace_back(context, ends.value().first.release());
        mouths.push_back(std::move(ends->second));
    }
    ears.front().async_wait(asio::posix::stream_descriptor::wait_read, [&](boost::system::error_code) {
        for (std::size_t i = 1; i < ears.size(); ++i) ears[i].close();
        action();
        done = true;
    });
    for (std::size_t i = 1; i < ears.size(); ++i)
        ears[i].async_wait(asio::posix::stream_descriptor::wait_read, [](boost::system::error_code) {});
    context.restart();
    context.poll();
    for (auto const& mouth : mouths) base::sys::write_all(mouth.get(), "x", "write to a pipe").value();
    while (!done) context.run_one();
}

}  // namespace testing_support
