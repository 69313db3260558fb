#pragma once
#include "tables.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace registry {

/// The thread that owns the connection. Requests that wait when a transaction begins run in it, in order, and share its
/// commit; each is told its outcome after that. Thread safety: every member from any thread (the one mutex of this folder).
class Writer {
  public:
    struct Request {
        bool writes = true;
        /// Runs inside the transaction. A failed one has undone its own changes and keeps its error to itself.
        std::function<void(Database&)> work;
        /// Called on the writer's thread once the commit's outcome is known, in any case, exactly once. Must not throw.
        std::function<void(Status const& commit)> done;
    };

    explicit Writer(std::unique_ptr<Database>);
    /// Writes what is lazy, then ends the thread and closes the connection.
    ~Writer();

    /// errc::busy when kMaxQueue wait already, errc::unavailable after `stop`.
    Status submit(Request);
    void touch(std::string id, std::int64_t active_ms);
    void put(ProcessRecord);
    void audit(tables::AuditEntry);

    /// As the destructor, but calls `stopped` on the writer's thread, as the last thing that it does.
    void stop(std::function<void()> stopped);

  private:
    static constexpr std::size_t kMaxQueue = 4096;
    static constexpr std::size_t kMaxLazy = 16384;    ///< of each kind, of the audit trail subjects; beyond it the newest is lost
    static constexpr std::size_t kMaxTrail = 64;      ///< audit entries of one subject in one commit; the rest is counted
    static constexpr int kPruneAfter = 20'000;        ///< audit entries: then at once, however busy it is
    static constexpr int kBusyWalPages = 8192;        ///< 32 MiB: checkpoint even though requests wait
    static constexpr int kIdleWalPages = 64;          ///< less is not worth two flushes
    static constexpr std::size_t kMaxGroup = 512;

    // Later records of one thing replace earlier ones, so a burst costs one row each.
    struct Lazy {
        std::map<std::string, std::int64_t> touched;
        std::vector<ProcessRecord> processes;
        std::map<std::string, std::size_t> process_at;    ///< index into `processes` by id
        std::vector<tables::AuditEntry> audit;
        struct Trail {
            std::size_t kept = 0, left_out = 0;
            std::int64_t last_ms = 0;
        };
        std::map<std::string, Trail> trails;              ///< of each subject of `audit`
        bool empty() const { return touched.empty() && processes.empty() && audit.empty(); }
    };

    void run();
    void transact(std::vector<Request>& group, Lazy& lazy);
    Status apply(Lazy const&);
    void restore(Lazy&&);
    static void add(Lazy&, tables::AuditEntry);
    void maintain(bool idle);
    template <class Change>
    void add_lazy(Change);

    std::unique_ptr<Database> db_;    ///< used by the thread alone
    std::chrono::steady_clock::time_point prune_at_ = std::chrono::steady_clock::now();    ///< so is this
    int audited_ = 0;                 ///< since the last pruning; and this
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Request> queue_;
    Lazy lazy_;
    std::chrono::steady_clock::time_point lazy_since_{};
    bool stopping_ = false;
    std::function<void()> stopped_;
    std::thread thread_;
};

}  // namespace registry
