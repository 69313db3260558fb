// Starting, stopping and ending a workspace's sandbox. Records go first; what a crash in between leaves,
// recovery.cpp finishes.
#include "impl.hpp"
#include <base/timeout.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <spdlog/spdlog.h>

namespace workspace {
namespace {

constexpr std::size_t kTailBytes = 64 * 1024;  // of each command's output, kept once its sandbox is gone
constexpr std::size_t kTailsKept = 64;         // newest commands of one sandbox whose tails are kept

sandbox::GuestSetup setup_for(Workspace const& w) {
    sandbox::GuestSetup setup;
    setup.workspace_id = w.record.id;
    setup.hostname = w.record.name.empty() ? w.record.id : w.record.name;
    setup.env = w.settings.env;
    setup.egress = w.settings.allow;
    setup.max_processes = w.settings.limits.pids;
    return setup;
}

}  // namespace

sandbox::Limits host_limits(sandbox::Limits limits) {
    limits.pids = limits.pids * 5 / 2 + 100;
    return limits;
}

Status Workspaces::Impl::equip(Ptr const& w) {
    auto policy = sandbox::EgressPolicy::parse(w->settings.allow);
    if (!policy) return policy.error();
    w->policy = std::make_shared<sandbox::EgressPolicy const>(std::move(*policy));
    std::weak_ptr<Workspace> const weak = w;
    w->sandbox->guest().on_egress([this, weak](std::unique_ptr<sandbox::GuestStream> stream) {
        if (auto self = weak.lock()) {
            self->used();
            egress.serve(std::move(stream), self->record.id, self->policy);
        }
    });
    std::weak_ptr<sandbox::Sandbox> const weak_sandbox = w->sandbox;
    w->sandbox->on_death([this, weak, weak_sandbox](sandbox::Death const& death) {
        auto self = weak.lock();
        auto dead = weak_sandbox.lock();
        if (!self || !dead || self->sandbox != dead || stopping) return;
        asio::co_spawn(io, bury(self, dead, death), asio::detached);
    });
    return {};
}

// Puts the claimed sandbox to work. The flushes (of the volume's name, then of the record of it) run beside the
// mount and the guest's round trip: a crash before the commit leaves a slot and a volume that nothing names, which the
// next start removes, and nothing was promised yet. One that gets files is recorded once it has them all: a
// repeat of the request after a crash must not find it half furnished.
Task<Status> Workspaces::Impl::start(Ptr w, sandbox::Taken taken, std::shared_ptr<Volume> volume,
                                     First const* first) {
    using namespace asio::experimental::awaitable_operators;
    auto const before = w->record;
    w->record.state = to_string(State::running);
    w->record.slot = taken.sandbox->slot_id();
    w->record.generation += 1;
    w->record.last_error.clear();
    w->record.active_ms = now_ms();
    w->sandbox = taken.sandbox;

    auto prepare = [](Impl* self, Ptr target, std::shared_ptr<Volume> files) -> Task<Status> {
        if (auto s = target->sandbox->set_limits(host_limits(target->settings.limits)); !s) co_return s;
        if (auto s = target->sandbox->attach_volume(files->host_directory()); !s) co_return s;
        auto configured = co_await target->sandbox->guest().configure(setup_for(*target));
        if (!configured) co_return configured;
        co_return self->equip(target);
    };
    // A new volume's name is durable before a record names it.
    auto insert = [](Impl* self, Ptr target) -> Task<Status> {
        auto settled = co_await self->volumes.settle();
        if (!settled) co_return settled;
        co_return co_await self->records.insert_workspace(target->record);
    };
    Status prepared, recorded;
    bool stored = false;
    if (first && (!first->request.files.empty() || !first->request.git_url.empty())) {
        prepared = co_await prepare(this, w, volume);
        if (prepared) prepared = co_await furnish(w, first->request, first->note);
        if (prepared) {
            recorded = co_await insert(this, w);
            stored = recorded.has_value();
        }
    } else {
        auto commit = first ? insert(this, w) : records.update_workspace(w->record);
        auto [committed, done] = co_await (std::move(commit) && prepare(this, w, volume));
        prepared = done;
        recorded = committed;
        stored = recorded.has_value();
    }
    if (recorded && prepared) co_return Status();

    auto failed = recorded ? prepared.error() : recorded.error();
    auto sandbox = std::exchange(w->sandbox, nullptr);
    (void)co_await sandbox->destroy();
    auto const generation = w->record.generation;
    w->record = before;
    w->record.generation = generation;
    w->record.slot.clear();
    w->record.state = to_string(State::stopped);
    if (!first && stored) (void)co_await records.update_workspace(w->record);
    if (first && stored) (void)co_await records.delete_workspace(w->record.id);
    co_return base::wrap(std::move(failed), "start workspace " + w->record.id);
}

Task<Status> Workspaces::Impl::wake(Ptr w, bool& restarted) {
    if (w->deleted)
        co_return base::error(base::errc::not_found, "workspace " + w->record.id + " was deleted");
    if (w->sandbox && w->sandbox->alive()) {
        if (!w->sandbox->frozen()) co_return Status();
        auto thawed = w->sandbox->thaw();
        if (thawed) tell(*w);
        co_return thawed;
    }
    w->starting = true;
    auto volume = co_await volumes.open_volume(w->record.volume);
    if (!volume) {
        w->starting = false;
        co_return base::wrap(volume.error(), "open the files of " + w->record.id);
    }
    auto taken = co_await sandboxes.take(w->record.template_name);
    if (!taken) {
        w->starting = false;
        co_return taken.error();
    }
    auto started = co_await start(w, std::move(*taken), std::move(*volume), nullptr);
    w->starting = false;
    restarted = started.has_value();
    if (restarted) tell(*w);
    co_return started;
}

// What commands wrote last, so that it can be read after their sandbox is gone.
Task<void> Workspaces::Impl::keep_tails(Ptr w) {
    if (!w->sandbox || !w->sandbox->alive()) co_return;
    if (w->sandbox->frozen() && !w->sandbox->thaw()) co_return;
    auto known = co_await w->sandbox->guest().processes();
    if (!known) co_return;
    std::vector<registry::ProcessRecord> out;
    std::size_t const skip = known->size() > kTailsKept ? known->size() - kTailsKept : 0;
    for (std::size_t i = skip; i < known->size(); ++i) {
        auto const& p = (*known)[i];
        auto const found = processes.find(p.id);
        auto record = record_of(w->record.id, w->record.generation,
                                found == processes.end() ? "" : found->second.command, p);
        if (p.running) {
            record.running = false;
            record.reason = "stopped";
            record.ended_ms = now_ms();
        }
        std::uint64_t const from = p.total_bytes > kTailBytes ? p.total_bytes - kTailBytes : 0;
        auto tail = co_await w->sandbox->guest().read(p.id, from, kTailBytes, base::milliseconds(0));
        if (tail) {
            record.tail = std::move(tail->output);
            record.tail_offset = tail->offset;
        }
        processes.erase(p.id);
        out.push_back(std::move(record));
    }
    if (!out.empty()) (void)co_await records.put_processes(std::move(out));
}

Task<Status> Workspaces::Impl::put_to_sleep(Ptr w, std::string why) {
    if (!w->sandbox) co_return Status();
    co_await keep_tails(w);
    auto sandbox = std::exchange(w->sandbox, nullptr);
    w->record.state = to_string(State::stopped);
    w->record.slot.clear();
    w->record.last_error = std::move(why);
    auto recorded = sandbox ? co_await records.update_workspace(w->record) : Status();
    if (sandbox) (void)co_await sandbox->destroy();
    (void)co_await volumes.release(w->record.volume);
    tell(*w);
    co_return recorded;
}

Task<void> Workspaces::Impl::bury(Ptr w, std::shared_ptr<sandbox::Sandbox> dead, sandbox::Death death) {
    auto held = co_await w->turn.take();
    if (w->sandbox == dead) {
        spdlog::warn("workspace {}: its sandbox ended: {} ({})", w->record.id,
                     sandbox::to_string(death.reason), death.detail);
        w->sandbox.reset();
        w->record.state = to_string(State::stopped);
        w->record.slot.clear();
        w->record.last_error = std::string(sandbox::to_string(death.reason)) + ": " + death.detail;
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
                record.reason = death.reason == sandbox::Death::Reason::oom ? "oom" : "killed";
            }
            lost.push_back(std::move(record));
        }
        (void)co_await records.update_workspace(w->record);
        if (!lost.empty()) (void)co_await records.put_processes(std::move(lost));
    }
    (void)co_await dead->destroy();
    tell(*w);
}

Task<Status> Workspaces::Impl::destroy(Ptr w) {
    w->deleted = true;
    w->record.state = to_string(State::deleting);
    if (auto s = co_await records.update_workspace(w->record); !s) {
        w->deleted = false;
        co_return s;
    }
    if (auto sandbox = std::exchange(w->sandbox, nullptr)) (void)co_await sandbox->destroy();
    if (auto s = co_await volumes.remove(w->record.volume); !s) co_return s;
    std::erase_if(processes, [&](auto const& p) { return p.second.workspace == w->record.id; });
    auto gone = co_await records.delete_workspace(w->record.id);
    table.erase(w->record.id);
    tell(*w, true);
    co_return gone;
}

}  // namespace workspace
