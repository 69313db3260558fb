// A workspace's sandbox from its files, and its end. Records go first; what a crash in between leaves, recovery.cpp
// finishes.
#include "impl.hpp"
#include <base/timeout.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <spdlog/spdlog.h>

namespace workspace {
namespace {

constexpr std::size_t kTailBytes = 64 * 1024;  // of each command's output, kept once its sandbox is gone
constexpr std::size_t kProcessesEnded = 1'000;
constexpr std::size_t kTailsKept = 64;         // newest commands of one sandbox whose tails are kept

/// Counts as use of its workspace while it is open.
class CountedStream final : public base::ByteStream {
  public:
    CountedStream(std::unique_ptr<base::ByteStream> inner, std::shared_ptr<Workspace> w)
        : inner_(std::move(inner)), workspace_(std::move(w)) {
        ++workspace_->streams;
    }
    ~CountedStream() override {
        --workspace_->streams;
        workspace_->used();
    }
    Task<Result<std::size_t>> read_some(asio::mutable_buffer buffer) override { return inner_->read_some(buffer); }
    Task<Status> write(asio::const_buffer bytes) override { return inner_->write(bytes); }
    void shutdown_write() override { inner_->shutdown_write(); }
    void close() override { inner_->close(); }

  private:
    std::unique_ptr<base::ByteStream> inner_;
    std::shared_ptr<Workspace> workspace_;
};

}  // namespace

sandbox::GuestSetup setup_for(Workspace const& w) {
    sandbox::GuestSetup setup;
    setup.workspace_id = w.record.id;
    setup.hostname = w.record.name.empty() ? w.record.id : w.record.name;
    setup.env = w.settings.env;
    setup.egress = w.settings.allow;
    setup.max_processes = w.settings.limits.pids;
    return setup;
}

sandbox::Limits host_limits(sandbox::Limits limits) {
    limits.pids = limits.pids * 5 / 2 + 100;
    return limits;
}

Status Workspaces::Impl::equip(Ptr const& w) {
    auto policy = sandbox::EgressPolicy::parse(w->settings.allow);
    if (!policy) return policy.error();
    w->policy = std::make_shared<sandbox::EgressPolicy const>(std::move(*policy));
    std::weak_ptr<Workspace> const weak = w;
    w->sandbox->guest().on_egress([this, weak](std::unique_ptr<base::ByteStream> stream) {
        if (auto self = weak.lock()) {
            auto counted = std::make_unique<CountedStream>(std::move(stream), self);
            egress.serve(std::move(counted), self->record.id, self->policy);
        }
    });
    std::weak_ptr<sandbox::Sandbox> const weak_sandbox = w->sandbox;
    w->sandbox->on_death([this, weak, weak_sandbox](sandbox::Death const&) {
        auto self = weak.lock();
        auto dead = weak_sandbox.lock();
        if (!self || !dead || self->sandbox != dead || stopping) return;
        asio::co_spawn(io, bury(self, dead), asio::detached);
    });
    return {};
}

// Puts the claimed sandbox to work. The record's flush runs beside the mount and the guest's round trip: a crash before
// the commit leaves a slot and a volume that nothing names, which the next start removes, and nothing was promised yet. One that gets files is recorded once it has them all: a
// repeat of the request after a crash must not find it half furnished.
Task<Status> Workspaces::Impl::start(Ptr w, sandbox::Taken taken, std::shared_ptr<Volume> volume,
                                     First const* first) {
    using namespace asio::experimental::awaitable_operators;
    auto const before = w->record;
    w->record.state = recorded(State::starting);
    w->record.slot = taken.sandbox->slot_id();
    w->record.generation += 1;
    w->record.last_error.clear();
    w->record.active_ms = now_ms();
    w->sandbox = taken.sandbox;
    w->memory_bytes = kNewSandbox;

    auto prepare = [](Impl* self, Ptr target, std::shared_ptr<Volume> files) -> Task<Status> {
        if (auto s = target->sandbox->set_limits(host_limits(target->settings.limits)); !s) co_return s;
        if (auto s = target->sandbox->attach_volume(files->host_directory()); !s) co_return s;
        auto configured = co_await target->sandbox->guest().configure(setup_for(*target));
        if (!configured) co_return configured;
        co_return self->equip(target);
    };
    Status prepared, committed;
    bool asked = false;  // and so perhaps done, whatever the answer
    if (first && (!first->request.files.empty() || !first->request.git_url.empty())) {
        prepared = co_await prepare(this, w, volume);
        if (prepared) prepared = co_await furnish(w, first->request, first->caller, first->note);
        if (prepared) {
            asked = true;
            committed = co_await records.insert_workspace(w->record);
        }
    } else {
        asked = true;
        auto commit = first ? records.insert_workspace(w->record) : records.update_workspace(w->record);
        auto [written, done] = co_await (std::move(commit) && prepare(this, w, volume));
        prepared = done;
        committed = written;
    }
    if (committed && prepared) {
        w->happens(Event::started);
        co_return Status();
    }

    auto failed = committed ? prepared.error() : committed.error();
    auto sandbox = std::exchange(w->sandbox, nullptr);
    (void)co_await sandbox->destroy();
    auto const generation = w->record.generation;
    w->record = before;
    w->record.generation = generation;
    w->record.slot.clear();
    w->record.state = recorded(State::stopped);
    w->happens(Event::failed);
    if (!first && asked) (void)co_await records.update_workspace(w->record);
    if (first) first->named = asked && !co_await unrecord(w->record.id);
    co_return base::wrap(std::move(failed), "start workspace " + w->record.id);
}

Task<Result<sandbox::Taken>> Workspaces::Impl::take(std::string template_name, sandbox::RuntimeKind runtime,
                                                         std::uint64_t memory) {
    auto room = co_await make_room(memory, false);
    if (!room) co_return room.error();
    Arriving const counted(*this, memory);
    auto taken = co_await sandboxes.take(template_name, runtime);
    for (int tries = 0; !taken && base::is(taken.error(), base::errc::busy); ++tries) {
        bool const again = co_await wait_for_slot(tries);
        if (!again) break;
        taken = co_await sandboxes.take(template_name, runtime);
    }
    co_return taken;
}

void Workspaces::Impl::put_right(Workspace& w) const {
    auto const left = w.state;
    if (left != State::starting && left != State::hibernating && left != State::waking && left != State::stopping) return;
    if (w.sandbox && w.sandbox->alive()) w.state = w.sandbox->frozen() ? State::frozen : State::running;
    else w.state = w.image ? State::hibernated : State::stopped;
    spdlog::error("workspace {}: was left {}, goes on {}", w.record.id, to_string(left), to_string(w.state));
}

Task<Status> Workspaces::Impl::start_from_files(Ptr w) {
    w->happens(Event::start);
    auto volume = co_await volumes.open_volume(w->record.volume);
    if (!volume) {
        w->happens(Event::failed);
        co_return base::wrap(volume.error(), "open the files of " + w->record.id);
    }
    auto taken = co_await take(w->record.template_name, w->settings.runtime, kNewSandbox);
    if (!taken) {
        w->happens(Event::failed);
        co_return taken.error();
    }
    w->record.fidelity = "files";
    if (w->record.fidelity_reason.empty())
        w->record.fidelity_reason = w->record.last_error.empty() ? "it was stopped" : w->record.last_error;
    auto started = co_await start(w, std::move(*taken), std::move(*volume), nullptr);
    co_return started;
}

// What commands wrote last, so that it can be read after their sandbox is gone.
Task<void> Workspaces::Impl::keep_tails(Ptr w, bool ending) {
    if (!w->sandbox || !w->sandbox->alive()) co_return;
    if (w->sandbox->frozen() && !w->sandbox->thaw()) co_return;
    auto const sandbox = w->sandbox;
    auto known = co_await sandbox->guest().processes();
    if (!known) co_return;
    std::vector<registry::ProcessRecord> out;
    std::size_t const skip = known->size() > kTailsKept ? known->size() - kTailsKept : 0;
    for (std::size_t i = skip; i < known->size(); ++i) {
        auto const& p = (*known)[i];
        auto const found = processes.find(p.id);
        auto record = record_of(w->record.id, w->record.generation,
                                found == processes.end() ? "" : found->second.command, p);
        if (found != processes.end()) record.keep_alive = found->second.keep_alive;
        if (found != processes.end()) record.background = found->second.background;
        if (p.running && ending) {
            record.running = false;
            record.reason = "stopped";
            record.ended_ms = now_ms();
        }
        std::uint64_t const from = p.total_bytes > kTailBytes ? p.total_bytes - kTailBytes : 0;
        auto tail = co_await sandbox->guest().read(p.id, from, kTailBytes, base::milliseconds(0));
        if (tail) {
            record.tail = std::move(tail->output);
            record.tail_offset = tail->offset;
        }
        if (ending) processes.erase(p.id);
        out.push_back(std::move(record));
    }
    if (!out.empty()) (void)co_await records.put_processes(std::move(out));
}

Task<Status> Workspaces::Impl::put_to_rest(Ptr w, std::string why) {
    if (w->state == State::stopped || w->deleted()) co_return Status();
    co_await keep_tails(w, true);
    auto rested = w->record;
    rested.state = recorded(State::stopping);
    rested.slot.clear();
    rested.fidelity_reason = why.empty() ? "only its files were kept, by wish" : std::move(why);
    rested.last_error.clear();
    registry::ImageChange change;
    if (w->image) change.remove.push_back(w->image->image);
    auto noted = co_await records.update_workspace_images(rested, change);
    if (!noted) co_return noted;
    w->record = std::move(rested);
    w->happens(Event::stop);
    ++counts.stopped;
    if (auto image = std::exchange(w->image, std::nullopt)) {
        co_await end_processes(w, "stopped");
        forget_image(std::move(*image));
    }
    if (auto sandbox = std::exchange(w->sandbox, nullptr)) {
        (void)co_await sandbox->destroy();
        w->happens(Event::ended);
    }
    w->memory_bytes = 0;
    co_await see_off(w);
    (void)co_await volumes.release(w->record.volume);
    tell(*w);
    co_return noted;
}

std::vector<registry::ProcessRecord> Workspaces::Impl::lose_processes(Ptr const& w, std::string reason) {
    std::vector<registry::ProcessRecord> lost;
    for (auto it = processes.begin(); it != processes.end();) {
        if (it->second.workspace != w->record.id || it->second.generation != w->record.generation) {
            ++it;
            continue;
        }
        auto record = std::move(it->second);
        it = processes.erase(it);
        if (record.running) {
            record.running = false;
            record.ended_ms = now_ms();
            record.reason = reason;
        }
        lost.push_back(std::move(record));
    }
    return lost;
}

Task<void> Workspaces::Impl::end_processes(Ptr w, std::string reason) {
    std::erase_if(processes, [&](auto const& p) { return p.second.workspace == w->record.id; });
    auto stored = co_await records.processes_of(w->record.id, kProcessesEnded);
    if (!stored) co_return;
    std::vector<registry::ProcessRecord> ended;
    for (auto& p : *stored) {
        if (!p.running) continue;
        p.running = false;
        p.reason = reason;
        p.ended_ms = now_ms();
        ended.push_back(std::move(p));
    }
    if (!ended.empty()) (void)co_await records.put_processes(std::move(ended));
}

Task<void> Workspaces::Impl::bury_held(Ptr w) {
    auto const dead = std::exchange(w->sandbox, nullptr);
    auto const death = dead->death();
    spdlog::warn("workspace {}: its sandbox ended: {} ({})", w->record.id, sandbox::to_string(death.reason),
                 death.detail);
    w->record.state = recorded(State::stopped);
    w->record.slot.clear();
    w->record.last_error = std::string(sandbox::to_string(death.reason)) + ": " + death.detail;
    w->record.fidelity_reason = w->record.last_error;
    w->memory_bytes = 0;
    w->happens(Event::died);
    auto lost = lose_processes(w, death.reason == sandbox::Death::Reason::oom ? "oom" : "killed");
    (void)co_await records.update_workspace(w->record);
    if (!lost.empty()) (void)co_await records.put_processes(std::move(lost));
    (void)co_await dead->destroy();
    tell(*w);
}

Task<void> Workspaces::Impl::bury(Ptr w, std::shared_ptr<sandbox::Sandbox> dead) {
    auto held = co_await w->turn.take();
    if (w->sandbox == dead) co_await bury_held(w);
    else (void)co_await dead->destroy();
}

Task<bool> Workspaces::Impl::unrecord(std::string id) {
    auto gone = co_await records.delete_workspace(std::move(id));
    co_return gone || base::is(gone.error(), base::errc::not_found);
}

Task<Status> Workspaces::Impl::destroy(Ptr w) {
    auto deleting = w->record;
    deleting.state = recorded(State::deleting);
    if (auto s = co_await records.update_workspace(deleting); !s) co_return s;
    w->record = std::move(deleting);
    if (!w->deleted()) w->happens(Event::remove);    // found so after a crash
    if (auto sandbox = std::exchange(w->sandbox, nullptr)) (void)co_await sandbox->destroy();
    co_await see_off(w);
    if (images)
        if (auto s = co_await images->remove_workspace(w->record.id); !s) co_return s;
    std::vector<std::string> copies{w->record.volume};
    if (auto const there = snapshots.find(w->record.id); there != snapshots.end())
        for (auto const& s : there->second) copies.push_back(s.volume);
    for (auto const& volume : copies)
        if (auto s = co_await volumes.remove(volume); !s) co_return s;
    snapshots.erase(w->record.id);
    std::erase_if(processes, [&](auto const& p) { return p.second.workspace == w->record.id; });
    auto gone = co_await records.delete_workspace(w->record.id);
    table.erase(w->record.id);
    tell(*w, true);
    co_return gone;
}

}  // namespace workspace
