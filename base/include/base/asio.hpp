#pragma once
#include <boost/asio.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <chrono>

// Threads. One thread runs the io_context and owns every object of ours, so those need no mutex and no strand. Blocking
// work (SQLite, fsync, file trees) runs on a pool through `blocking` and touches only what it was given.
namespace asio = boost::asio;

namespace base {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

template <class T>
using Task = asio::awaitable<T>;

inline constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

}  // namespace base
