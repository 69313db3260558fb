#include "impl.hpp"

#include <spdlog/spdlog.h>

namespace workspace {

// Records of processes are written a little after the fact, so a crash may have lost the newest; the guest
// has them all.
Task<void> Workspaces::Impl::relearn_processes(Ptr w) {
    auto seen = co_await w->sandbox->guest().processes();
    if (!seen) co_return;
    for (auto const& p : *seen) {
        auto stored = co_await records.process(p.id);
        if (!stored || stored->has_value()) continue;
        auto record = record_of(w->record.id, w->record.generation, "", p);
        records.put_process_lazy(record);
        processes.insert_or_assign(p.id, std::move(record));
    }
}

Task<RecoveryReport> Workspaces::Impl::recover() {
    RecoveryReport report;
    auto all = co_await records.workspaces();
    if (!all) throw boost::system::system_error(all.error().code, "read workspaces: " + all.error().context);
    std::set<std::string> volume_ids;
    std::vector<Ptr> doomed;
    for (auto& record : *all) {
        auto w = std::make_shared<Workspace>(io.get_executor(), record);
        volume_ids.insert(record.volume);
        table.emplace(record.id, w);
    }
    for (auto const& [id, w] : std::map<std::string, Ptr>(table.begin(), table.end())) {
        switch (recovery_step(state_from(w->record.state))) {
            case RecoveryStep::keep:
                break;
            case RecoveryStep::finish_delete:
                doomed.push_back(w);
                break;
            case RecoveryStep::adopt_or_stop: {
                auto sandbox = co_await sandboxes.adopt(w->record.slot);
                std::string why = sandbox ? "" : sandbox.error().message();
                if (sandbox) {
                    auto ready = co_await (*sandbox)->guest().configured_for(id);
                    w->sandbox = *sandbox;
                    if (ready && *ready && equip(w)) {
                        ++report.adopted;
                        co_await relearn_processes(w);
                        break;
                    }
                    // Claimed, but the crash came before it was set up: its files are as good as new.
                    w->sandbox.reset();
                    (void)co_await (*sandbox)->destroy();
                    why = "the server stopped while it was being started";
                }
                w->record.state = to_string(State::stopped);
                w->record.slot.clear();
                w->record.last_error = "lost over a restart of the server: " + why;
                (void)co_await records.update_workspace(w->record);
                ++report.stopped;
                break;
            }
        }
    }
    report.sandboxes = co_await sandboxes.sweep();
    for (auto const& w : doomed) {
        spdlog::info("workspace {}: finishing its deletion", w->record.id);
        (void)co_await destroy(w);
        volume_ids.erase(w->record.volume);
    }
    report.forgotten_volumes = co_await volumes.recover(volume_ids);
    co_return report;
}

}  // namespace workspace
