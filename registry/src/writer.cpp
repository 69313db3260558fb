#include "writer.hpp"

#include <signal.h>

#include <algorithm>

namespace registry {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLazyDelay = 100ms;    // the promise of put_process_lazy
constexpr auto kIdleAfter = 1s;       // without requests: time for a checkpoint
constexpr auto kPruneEvery = 10min;   // it reads an index of every process
constexpr auto kRetryAfter = 1s;      // lazy writes after a failed commit

}  // namespace

Writer::Writer(std::unique_ptr<Database> db) : db_(std::move(db)), thread_() {
    // The process's signals are for the I/O thread.
    sigset_t all, old;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &old);
    thread_ = std::thread([this] { run(); });
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

Writer::~Writer() {
    stop({});
    thread_.join();
}

Status Writer::submit(Request request) {
    {
        std::lock_guard const lock(mutex_);
        if (stopping_) return base::error(base::errc::unavailable, "the registry is closed");
        if (queue_.size() >= kMaxQueue) return base::error(base::errc::busy, "the registry has too much to write; try again");
        queue_.push_back(std::move(request));
    }
    wake_.notify_one();
    return {};
}

template <class Change>
void Writer::add_lazy(Change change) {
    bool first = false;
    {
        std::lock_guard const lock(mutex_);
        if (stopping_) return;
        first = lazy_.empty();
        if (first) lazy_since_ = Clock::now();
        change(lazy_);
    }
    if (first) wake_.notify_one();    // so that the thread learns of the time to wake at
}

void Writer::touch(std::string id, std::int64_t active_ms) {
    add_lazy([&](Lazy& lazy) {
        if (auto const at = lazy.touched.find(id); at != lazy.touched.end()) at->second = std::max(at->second, active_ms);
        else if (lazy.touched.size() < kMaxLazy) lazy.touched.emplace(std::move(id), active_ms);
    });
}

void Writer::put(ProcessRecord record) {
    add_lazy([&](Lazy& lazy) {
        if (auto const at = lazy.process_at.find(record.id); at != lazy.process_at.end()) {
            lazy.processes[at->second] = std::move(record);
        } else if (lazy.processes.size() < kMaxLazy) {
            lazy.process_at.emplace(record.id, lazy.processes.size());
            lazy.processes.push_back(std::move(record));
        }
    });
}

void Writer::audit(tables::AuditEntry entry) {
    add_lazy([&](Lazy& lazy) { add(lazy, std::move(entry)); });
}

// What runs in a sandbox decides how often its entries come: a flood must leave room for everyone else's.
void Writer::add(Lazy& lazy, tables::AuditEntry entry) {
    if (lazy.trails.size() >= kMaxLazy && !lazy.trails.contains(entry.workspace)) return;
    auto& trail = lazy.trails[entry.workspace];
    trail.last_ms = entry.at_ms;
    if (trail.kept >= kMaxTrail) {
        ++trail.left_out;
        return;
    }
    ++trail.kept;
    lazy.audit.push_back(std::move(entry));
}

void Writer::stop(std::function<void()> stopped) {
    {
        std::lock_guard const lock(mutex_);
        if (stopping_) return;
        stopping_ = true;
        stopped_ = std::move(stopped);
    }
    wake_.notify_one();
}

void Writer::run() {
    std::unique_lock lock(mutex_);
    auto retry_at = Clock::time_point::min();
    auto idle_at = Clock::now() + kIdleAfter;
    bool idle_done = false;
    for (;;) {
        auto const now = Clock::now();
        auto const lazy_at = std::max(lazy_since_ + kLazyDelay, retry_at);
        bool const lazy_due = !lazy_.empty() && (stopping_ || now >= lazy_at);
        if (queue_.empty() && !lazy_due) {
            if (stopping_) break;
            if (!idle_done && now >= idle_at) {
                idle_done = true;
                lock.unlock();
                maintain(true);
                lock.lock();
                continue;
            }
            if (lazy_.empty() && idle_done) wake_.wait(lock);
            else if (lazy_.empty()) wake_.wait_until(lock, idle_at);
            else wake_.wait_until(lock, idle_done ? lazy_at : std::min(lazy_at, idle_at));
            continue;
        }
        std::vector<Request> group;
        while (!queue_.empty() && group.size() < kMaxGroup) {
            group.push_back(std::move(queue_.front()));
            queue_.pop_front();
        }
        // Lazy writes go along with any commit that happens anyway; with reads alone they wait for their time.
        bool const commits = std::any_of(group.begin(), group.end(), [](auto const& r) { return r.writes; });
        Lazy lazy;
        if (lazy_due || (commits && now >= retry_at)) std::swap(lazy, lazy_);
        lock.unlock();
        transact(group, lazy);
        maintain(false);
        bool const failed = !lazy.empty();
        if (failed) retry_at = Clock::now() + kRetryAfter;
        idle_at = Clock::now() + kIdleAfter;
        idle_done = false;
        lock.lock();
        if (failed && !stopping_) restore(std::move(lazy));
    }
    auto const stopped = std::move(stopped_);
    lock.unlock();
    db_.reset();
    if (stopped) stopped();
}

// On return `lazy` holds what was not written.
void Writer::transact(std::vector<Request>& group, Lazy& lazy) {
    bool const writes = !lazy.empty() || std::any_of(group.begin(), group.end(), [](auto const& r) { return r.writes; });
    auto outcome = db_->execute(writes ? "BEGIN IMMEDIATE" : "BEGIN");
    // Lazy writes came before the requests that wait now, as far as anyone can tell; a request may delete what they name.
    if (outcome && !lazy.empty()) outcome = apply(lazy);
    if (outcome)
        for (auto& request : group) {
            request.work(*db_);
            if (db_->in_transaction()) continue;
            // Disk full, out of memory, I/O error: SQLite has undone all of it, so nobody may be told of success.
            outcome = base::error(base::errc::unavailable, "the registry could not be written; nothing was changed");
            break;
        }
    if (outcome) outcome = db_->execute("COMMIT");
    if (!outcome && db_->in_transaction()) (void)db_->execute("ROLLBACK");
    if (outcome) lazy = {};

    for (auto& request : group) request.done(outcome);
}

Status Writer::apply(Lazy const& lazy) {
    // A single bad record is dropped, the transaction goes on unless it is gone.
    auto const gone = [&](Status const& s) { return !s && !db_->in_transaction(); };
    for (auto const& record : lazy.processes)
        if (auto s = tables::put(*db_, record); gone(s)) return s;
    for (auto const& [id, active_ms] : lazy.touched)
        if (auto s = tables::touch(*db_, id, active_ms); gone(s)) return s;
    for (auto const& entry : lazy.audit)
        if (auto s = tables::add(*db_, entry); gone(s)) return s;
    for (auto const& [subject, trail] : lazy.trails) {
        audited_ += static_cast<int>(trail.kept);
        if (trail.left_out == 0) continue;
        auto const count = base::dump(base::Json{{"entries", trail.left_out}});
        if (auto s = tables::add(*db_, {trail.last_ms, subject, "more than is recorded", count}); gone(s)) return s;
    }
    return {};
}

// What could not be written goes before what has come since, which is newer.
void Writer::restore(Lazy&& old) {
    Lazy newer;
    std::swap(newer, lazy_);
    lazy_ = std::move(old);
    for (auto& [id, active_ms] : newer.touched) {
        auto& at = lazy_.touched[id];
        at = std::max(at, active_ms);
    }
    for (auto& record : newer.processes) {
        if (auto const at = lazy_.process_at.find(record.id); at != lazy_.process_at.end()) {
            lazy_.processes[at->second] = std::move(record);
        } else if (lazy_.processes.size() < kMaxLazy) {
            lazy_.process_at.emplace(record.id, lazy_.processes.size());
            lazy_.processes.push_back(std::move(record));
        }
    }
    for (auto& entry : newer.audit) add(lazy_, std::move(entry));
    for (auto const& [subject, trail] : newer.trails)
        if (auto const at = lazy_.trails.find(subject); at != lazy_.trails.end()) at->second.left_out += trail.left_out;
}

// A failed checkpoint loses nothing: the WAL is read back at the next start, and the next try comes soon.
void Writer::maintain(bool idle) {
    if ((idle && Clock::now() >= prune_at_) || audited_ >= kPruneAfter) {
        (void)tables::prune(*db_);
        prune_at_ = Clock::now() + kPruneEvery;
        audited_ = 0;
    }
    if (db_->wal_pages() >= (idle ? kIdleWalPages : kBusyWalPages)) (void)db_->checkpoint();
}

}  // namespace registry
