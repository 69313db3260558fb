#pragma once
#include <base/asio.hpp>
#include <base/launcher.hpp>
#include <base/unique_fd.hpp>

#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace bench {

/// What a child's descriptors become. Owned until the child has ended, so that its streams then read as
/// ended.
struct Streams {
    base::UniqueFd in, out, err;
};

/// One running process. Destroying it kills and reaps whatever still runs.
class Child {
  public:
    ~Child();
    Child(Child const&) = delete;
    Child& operator=(Child const&) = delete;

    /// Its end, or nothing when it has not ended within `limit`.
    std::optional<base::Result<base::Finished>> wait(base::milliseconds limit);
    bool ended() const;

  private:
    friend class Children;
    Child(asio::io_context&, base::Launch, Streams, base::milliseconds limit);
    asio::io_context& io_;
    std::shared_ptr<asio::cancellation_signal> cancel_;
    std::shared_future<base::Result<base::Finished>> end_;
};

/// Starts processes through base::run on a thread of its own, so that the measuring thread can block on their
/// answers. Outlives every Child.
class Children {
  public:
    Children();
    ~Children();

    std::unique_ptr<Child> start(base::Launch launch, Streams streams, base::milliseconds limit);
    /// To its end. Throws Failure when it cannot start or takes longer.
    base::Finished run(base::Launch launch, base::milliseconds limit);

  private:
    asio::io_context io_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
    std::thread thread_;
};

}  // namespace bench
