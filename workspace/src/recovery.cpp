#include "impl.hpp"

#include <spdlog/spdlog.h>

namespace workspace {
namespace {

constexpr std::size_t kProcessesAsked = 1'000;

}  // namespace

// Records of processes are written a little after the fact, so a crash may have lost the newest; the guest
// has them all. Which of them are to be kept going only the records know.
Task<void> Workspaces::Impl::relearn_processes(Ptr w) {
    auto stored = co_await records.processes_of(w->record.id, kProcessesAsked);
    auto seen = co_await w->sandbox->guest().processes();
    if (!stored || !seen) co_return;
    std::map<std::string, registry::ProcessRecord> known;
    for (auto& p : *stored) known.emplace(p.id, std::move(p));
    for (auto const& p : *seen) {
        auto const before = known.find(p.id);
        auto record = record_of(w->record.id, w->record.generation,
                                before == known.end() ? "" : before->second.command, p);
        record.keep_alive = before != known.end() && before->second.keep_alive;
        record.background = before != known.end() && before->second.background;
        if (before == known.end()) records.put_process_lazy(record);
        processes.insert_or_assign(p.id, std::move(record));
    }
}

// The sandbox that the record names, when it lives, answers, and was set up for this workspace.
Task<Status> Workspaces::Impl::take_back(Ptr w) {
    auto sandbox = co_await sandboxes.adopt(w->record.slot);
    if (!sandbox) co_return sandbox.error();
    if (state_from(w->record.state) == State::waking && w->image) {
        // Loaded, and perhaps nothing more: once more does no harm.
        sandbox::Renewal renewal;
        renewal.setup = setup_for(*w);
        renewal.generation = w->image->generation;
        renewal.forked = w->image->forked;
        (void)co_await (*sandbox)->guest().renew(std::move(renewal));
    }
    auto ready = co_await (*sandbox)->guest().configured_for(w->record.id);
    w->sandbox = *sandbox;
    if (ready && *ready && equip(w)) {
        // The node knows only its default.
        if (auto s = w->sandbox->set_limits(host_limits(w->settings.limits)); !s)
            spdlog::warn("workspace {}: its limits: {}", w->record.id, s.error().message());
        // As recorded: a crash may have kept the last change from it.
        auto setup = setup_for(*w);
        auto configured = co_await w->sandbox->guest().configure(std::move(setup));
        if (!configured)
            spdlog::warn("workspace {}: its settings: {}", w->record.id, configured.error().message());
        co_await relearn_processes(w);
        co_return Status();
    }
    // Claimed, but the crash came before it was set up: its files are as good as new.
    w->sandbox.reset();
    (void)co_await (*sandbox)->destroy();
    co_return base::error(base::errc::unavailable, "the server stopped while it was being started");
}

Task<void> Workspaces::Impl::recover_one(Ptr w, RecoveryReport* report) {
    auto const found = state_from(w->record.state);
    auto const way = way_out(found);
    w->state = way.otherwise;
    if (way.finish_delete) co_return;
    Status back = base::error(base::errc::not_found, "");
    if (way.adopt) back = co_await take_back(w);
    auto after = w->record;
    registry::ImageChange change;
    if (way.adopt && back) {
        ++report->adopted;
        w->found = w->sandbox;
        w->state = State::running;
        w->memory_bytes = kNewSandbox;
        after.state = recorded(State::running);
        if (w->image) {
            // It came back with its memory and goes on: the image is behind from here on.
            change.remove.push_back(w->image->image);
            after.fidelity = "memory";
            after.fidelity_reason.clear();
        }
    } else if (way.otherwise == State::hibernated && w->image) {
        ++report->asleep;
        after.state = recorded(State::hibernated);
        after.slot.clear();
    } else if (found != State::stopped) {
        ++report->stopped;
        w->state = State::stopped;
        after.state = recorded(State::stopped);
        after.slot.clear();
        after.last_error = "lost over a restart of the server: " +
                           (way.adopt ? back.error().message() : "its memory image is not recorded");
        after.fidelity_reason = after.last_error;
    }
    if (after.state != w->record.state || after.slot != w->record.slot || !change.remove.empty()) {
        w->record = after;
        (void)co_await records.update_workspace_images(std::move(after), change);
    }
    if (w->state != State::hibernated) w->image.reset();
}

// Records of images that nobody sleeps in: their commit came after the one who waited for it had given up.
Task<void> Workspaces::Impl::forget_stray_records(std::vector<registry::ImageRecord> all) {
    for (auto const& image : all) {
        auto const& w = table.at(image.workspace);
        if (image.kind != "sleep" || (w->image && w->image->image == image.image)) continue;
        registry::ImageChange change;
        change.remove.push_back(image.image);
        (void)co_await records.change_images(image.workspace, change);
    }
}

// Images that no record names: a crash came between their publication and the commit, or between a commit and
// their removal.
Task<int> Workspaces::Impl::forget_stray_images(std::vector<registry::ImageRecord> known) {
    if (!images) co_return 0;
    auto swept = co_await images->sweep();
    int removed = swept ? *swept : 0;
    auto there = co_await images->list("");
    if (!there) co_return removed;
    for (auto const& image : *there) {
        bool const named = std::any_of(known.begin(), known.end(), [&](auto const& r) {
            return r.workspace == image.ref.workspace_id && r.image == image.ref.image_id;
        });
        if (named) continue;
        auto gone = co_await images->remove(image.ref.workspace_id, image.ref.image_id);
        removed += gone.has_value();
    }
    co_return removed;
}

Task<RecoveryReport> Workspaces::Impl::recover() {
    RecoveryReport report;
    auto all = co_await records.workspaces();
    if (!all) throw boost::system::system_error(all.error().code, "read workspaces: " + all.error().context);
    auto pictures = co_await records.images();
    if (!pictures)
        throw boost::system::system_error(pictures.error().code, "read images: " + pictures.error().context);
    std::set<std::string> volume_ids, guests;
    for (auto& record : *all) {
        volume_ids.insert(record.volume);
        auto const id = record.id;
        table.emplace(id, std::make_shared<Workspace>(io.get_executor(), std::move(record)));
    }
    auto kept = co_await records.snapshots();
    if (!kept) throw boost::system::system_error(kept.error().code, "read snapshots: " + kept.error().context);
    for (auto& one : *kept) {
        volume_ids.insert(one.volume);
        snapshots[one.workspace].push_back(std::move(one));
    }
    for (auto const& image : *pictures) {
        guests.insert(image.guest_build);
        if (image.kind != "sleep") continue;
        auto const& w = table.at(image.workspace);
        auto const state = state_from(w->record.state);
        if (state == State::hibernated || state == State::waking) w->image = image;
    }
    co_await forget_stray_records(*pictures);
    sandboxes.keep_guests(std::move(guests));
    std::vector<Ptr> doomed;
    std::vector<registry::ImageRecord> named;
    for (auto const& [id, w] : std::map<std::string, Ptr>(table.begin(), table.end())) {
        co_await recover_one(w, &report);
        if (w->deleted()) doomed.push_back(w);
        if (w->image) named.push_back(*w->image);
    }
    for (auto const& image : *pictures)
        if (image.kind != "sleep") named.push_back(image);
    report.sandboxes = co_await sandboxes.sweep();
    report.forgotten_images = co_await forget_stray_images(std::move(named));
    for (auto const& w : doomed) {
        spdlog::info("workspace {}: finishing its deletion", w->record.id);
        (void)co_await destroy(w);
        volume_ids.erase(w->record.volume);
    }
    report.forgotten_volumes = co_await volumes.recover(volume_ids);
    co_return report;
}

}  // namespace workspace
