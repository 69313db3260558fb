#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace workspace {

/// One operation at a time for each volume; the others wait here. I/O thread only.
class Turns {
    struct One {
        bool taken = false;
        std::vector<asio::steady_timer*> waiting;  // each in the frame of the coroutine that waits
    };
    using All = std::map<std::string, One>;

    static void pass(All& all, std::string const& id) {
        auto const at = all.find(id);
        at->second.taken = false;
        for (auto* timer : at->second.waiting) timer->cancel();
        if (at->second.waiting.empty()) all.erase(at);
    }

  public:
    /// Passes on when it ends. Shares the table, because frames that an io_context destroys outlive the
    /// store.
    class Turn {
      public:
        Turn() = default;
        Turn(std::shared_ptr<All> all, std::string id) : all_(std::move(all)), id_(std::move(id)) {}
        Turn(Turn&& other) noexcept : all_(std::exchange(other.all_, nullptr)), id_(std::move(other.id_)) {}
        Turn& operator=(Turn&&) = delete;
        ~Turn() {
            if (all_) pass(*all_, id_);
        }

      private:
        std::shared_ptr<All> all_;
        std::string id_;
    };

    /// errc::busy when the one before outlasts its own limits (e2fsck's 10 minutes).
    base::Task<base::Result<Turn>> take(std::string id) {
        auto const all = all_;
        auto const end = base::Clock::now() + std::chrono::minutes(15);
        while ((*all)[id].taken) {
            if (base::Clock::now() >= end)
                co_return base::error(base::errc::busy, "volume " + id + " is busy with another operation");
            asio::steady_timer timer(co_await asio::this_coro::executor, end);
            Waiting const listed((*all)[id].waiting, &timer);
            co_await timer.async_wait(base::as_tuple);
        }
        (*all)[id].taken = true;
        co_return Turn(all, std::move(id));
    }

  private:
    // An entry with anyone listed is not erased, so the reference holds.
    struct Waiting {
        Waiting(std::vector<asio::steady_timer*>& list, asio::steady_timer* timer)
            : list_(list), timer_(timer) {
            list_.push_back(timer);
        }
        ~Waiting() { std::erase(list_, timer_); }
        std::vector<asio::steady_timer*>& list_;
        asio::steady_timer* timer_;
    };

    std::shared_ptr<All> all_ = std::make_shared<All>();
};

}  // namespace workspace
