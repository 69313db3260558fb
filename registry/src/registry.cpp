#include "directory_lock.hpp"
#include "writer.hpp"

#include <base/syscalls.hpp>

#include <chrono>

namespace registry {
namespace {

using namespace std::chrono_literals;

// Far beyond any flush of a working disk: a caller must not hang with a broken one.
constexpr auto kAnswerLimit = 60s;

std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// One request in flight, shared by the waiting caller and the writer: the first may be cancelled while the second works.
// After the request was handed over, `result` is touched by the writer until it posts, then by the I/O thread.
template <class R>
struct Pending {
    explicit Pending(asio::io_context& io) : wake(io, kAnswerLimit) {}
    std::optional<R> result;
    bool answered = false;
    asio::steady_timer wake;
};

class SqliteRegistry final : public Registry {
  public:
    SqliteRegistry(asio::io_context& io, base::UniqueFd lock, std::unique_ptr<Database> db)
        : io_(io), lock_(std::move(lock)), writer_(std::make_unique<Writer>(std::move(db))) {}

    Task<Status> insert_workspace(WorkspaceRecord r) override {
        return ask<Status>(true, [r = std::move(r)](Database& db) { return tables::insert(db, r); });
    }
    Task<Status> insert_workspaces(std::vector<WorkspaceRecord> all) override {
        return ask<Status>(true, [all = std::move(all)](Database& db) { return tables::insert_all(db, all); });
    }
    Task<Status> update_workspace(WorkspaceRecord r) override {
        return ask<Status>(true, [r = std::move(r)](Database& db) { return tables::update(db, r); });
    }
    Task<Status> update_workspace_images(WorkspaceRecord r, ImageChange change) override {
        return ask<Status>(true, [r = std::move(r), change = std::move(change)](Database& db) {
            return tables::update_with_images(db, r, change);
        });
    }
    Task<Status> change_images(std::string workspace, ImageChange change) override {
        return ask<Status>(true, [w = std::move(workspace), change = std::move(change)](Database& db) {
            return tables::change_images(db, w, change);
        });
    }
    Task<Result<std::vector<ImageRecord>>> images() override {
        return ask<Result<std::vector<ImageRecord>>>(false, [](Database& db) { return tables::images(db); });
    }
    void touch_workspace_lazy(std::string id, std::int64_t active_ms) override { writer_->touch(std::move(id), active_ms); }
    Task<Status> delete_workspace(std::string id) override {
        return ask<Status>(true, [id = std::move(id)](Database& db) { return tables::remove_workspace(db, id); });
    }
    Task<Result<std::vector<WorkspaceRecord>>> workspaces() override {
        return ask<Result<std::vector<WorkspaceRecord>>>(false, [](Database& db) { return tables::workspaces(db); });
    }

    Task<Status> insert_snapshot(SnapshotRecord r, std::optional<ImageRecord> image) override {
        return ask<Status>(true, [r = std::move(r), image = std::move(image)](Database& db) {
            return tables::insert(db, r, image);
        });
    }
    Task<Status> delete_snapshot(std::string id) override {
        return ask<Status>(true, [id = std::move(id)](Database& db) { return tables::remove_snapshot(db, id); });
    }
    Task<Result<std::vector<SnapshotRecord>>> snapshots() override {
        return ask<Result<std::vector<SnapshotRecord>>>(false, [](Database& db) { return tables::snapshots(db); });
    }

    void put_process_lazy(ProcessRecord r) override { writer_->put(std::move(r)); }
    Task<Status> put_processes(std::vector<ProcessRecord> all) override {
        return ask<Status>(true, [all = std::move(all)](Database& db) { return tables::put_all(db, all); });
    }
    Task<Result<std::optional<ProcessRecord>>> process(std::string id) override {
        return ask<Result<std::optional<ProcessRecord>>>(
            false, [id = std::move(id)](Database& db) { return tables::process(db, id); });
    }
    Task<Result<std::vector<ProcessRecord>>> processes_of(std::string workspace, std::size_t limit) override {
        return ask<Result<std::vector<ProcessRecord>>>(false, [w = std::move(workspace), limit](Database& db) {
            return tables::processes_of(db, w, limit);
        });
    }

    Task<Result<std::vector<ToolPin>>> tool_pins(std::string server) override {
        return ask<Result<std::vector<ToolPin>>>(
            false, [server = std::move(server)](Database& db) { return tables::tool_pins(db, server); });
    }
    Task<Status> put_tool_pins(std::vector<ToolPin> pins) override {
        return ask<Status>(true, [pins = std::move(pins)](Database& db) { return tables::put_pins(db, pins); });
    }
    Task<Result<std::optional<ServerOffer>>> server_offer(std::string server) override {
        return ask<Result<std::optional<ServerOffer>>>(
            false, [server = std::move(server)](Database& db) { return tables::server_offer(db, server); });
    }
    Task<Status> put_server_offer(std::string server, ServerOffer offer) override {
        return ask<Status>(true, [server = std::move(server), offer = std::move(offer)](Database& db) {
            return tables::put_offer(db, server, offer);
        });
    }
    Task<Status> forget_server(std::string server) override {
        return ask<Status>(true,
                           [server = std::move(server)](Database& db) { return tables::forget_server(db, server); });
    }

    Task<Status> put_preview(PreviewRecord r) override {
        return ask<Status>(true, [r = std::move(r)](Database& db) { return tables::put(db, r); });
    }
    Task<Status> delete_preview(std::string id) override {
        return ask<Status>(true, [id = std::move(id)](Database& db) { return tables::delete_preview(db, id); });
    }
    Task<Result<std::vector<PreviewRecord>>> previews() override {
        return ask<Result<std::vector<PreviewRecord>>>(false, [](Database& db) { return tables::previews(db); });
    }

    void audit_lazy(std::string workspace, std::string what, base::Json detail) override {
        writer_->audit({now_ms(), std::move(workspace), std::move(what), base::dump(detail)});
    }
    Task<Result<base::Json>> recent_audit(std::string workspace, std::size_t limit) override {
        return ask<Result<base::Json>>(false, [w = std::move(workspace), limit](Database& db) {
            return tables::recent_audit(db, w, limit);
        });
    }

    Task<Result<std::string>> secret(std::string name, std::size_t bytes) override {
        return ask<Result<std::string>>(true, [n = std::move(name), bytes](Database& db) {
            return tables::secret(db, n, bytes);
        });
    }

    Task<void> close() override {
        if (std::exchange(closed_, true)) co_return;
        auto pending = std::make_shared<Pending<Status>>(io_);
        writer_->stop([this, pending] { answer(pending); });
        while (!pending->answered) {
            auto const [ec] = co_await pending->wake.async_wait(base::as_tuple);
            if (!ec || !pending->answered) break;    // out of time, or cancelled: the destructor still waits for the writer
        }
        lock_.reset();
    }

  private:
    // Called on the writer's thread.
    template <class R>
    void answer(std::shared_ptr<Pending<R>> pending) {
        asio::post(io_, [pending = std::move(pending)] {
            pending->answered = true;
            pending->wake.cancel();
        });
    }

    template <class R, class Work>
    Task<R> ask(bool writes, Work work) {
        auto pending = std::make_shared<Pending<R>>(io_);
        auto run = [pending, work = std::move(work)](Database& db) { pending->result.emplace(work(db)); };
        auto done = [this, pending](Status const& commit) {
            // A request's own failure says more than that the group was undone.
            if (!commit && (!pending->result || *pending->result)) pending->result.emplace(commit.error());
            answer(pending);
        };
        Writer::Request request{writes, std::move(run), std::move(done)};
        auto const accepted = writer_->submit(std::move(request));
        if (!accepted) co_return accepted.error();
        auto const [ec] = co_await pending->wake.async_wait(base::as_tuple);
        if (pending->answered) co_return std::move(*pending->result);
        if (ec) co_return base::error(base::errc::cancelled, "stopped waiting for the registry; what was asked still happens");
        co_return base::error(base::errc::timed_out, "the registry did not answer in time");
    }

    asio::io_context& io_;
    base::UniqueFd lock_;                  // given up after the connection is closed
    std::unique_ptr<Writer> writer_;
    bool closed_ = false;
};

}  // namespace

Result<std::unique_ptr<Registry>> Registry::open(asio::io_context& io, std::string const& directory) {
    auto lock = lock_directory(directory);
    if (!lock) return lock.error();
    auto db = Database::open(directory + "/registry.sqlite");
    if (!db) return db.error();
    return std::unique_ptr<Registry>(std::make_unique<SqliteRegistry>(io, std::move(*lock), std::move(*db)));
}

}  // namespace registry
