#pragma once
#include <preview/backend.hpp>
#include <preview/previews.hpp>
#include <set>

namespace preview {

/// Holds requests while their workspace wakes: one wake however many wait, a bounded number of them, a
/// bounded time. Threads: the I/O thread.
class Waker {
  public:
    Waker(asio::any_io_executor executor, Backend& backend, Options const& options)
        : state_(std::make_shared<State>(executor, backend, options)) {}

    /// errc::not_found; errc::busy: too many wait already; errc::timed_out: it still wakes; else why it could
    /// not.
    base::Task<base::Result<std::unique_ptr<Awake>>> awake(std::string owner, std::string workspace);
    int held() const { return state_->held; }

  private:
    struct Wake {
        bool done = false;
        base::Status outcome;
        std::unique_ptr<Awake> awake;  ///< keeps it up until those who wait have theirs
        std::set<asio::steady_timer*> waiting;
    };
    struct State {
        State(asio::any_io_executor e, Backend& b, Options const& o) : executor(e), backend(b), options(o) {}
        asio::any_io_executor executor;
        Backend& backend;
        Options options;
        std::map<std::string, std::shared_ptr<Wake>> wakes;
        int held = 0;
    };
    static base::Task<void> run(std::shared_ptr<State>, std::shared_ptr<Wake>, std::string owner,
                                std::string workspace);

    std::shared_ptr<State> state_;
};

}  // namespace preview
