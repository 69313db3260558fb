// Back to a snapshot. The restored sandbox answers before the present one is given up, and one record
// switches from the one to the other: a crash before it leaves the present state, a crash after it the
// restored one.
#include "capture.hpp"
#include <base/ids.hpp>
#include <base/uncancelled.hpp>

#include <spdlog/spdlog.h>

namespace workspace {

// A sandbox for `w` on another volume: from the image, or from the files where the image is of no use and
// that will do.
Task<Result<Workspaces::Impl::Raised>> Workspaces::Impl::raise(Ptr w, std::string volume,
                                                               std::uint64_t generation,
                                                               sandbox::OpenImage const* image, Raise how) {
    Raised out;
    auto opened = co_await volumes.open_volume(volume);
    if (!opened) co_return base::wrap(opened.error(), "open the copied files");
    if (image) {
        sandbox::RestoreRequest request;
        request.image = *image;
        request.template_name = w->record.template_name;
        request.runtime = w->settings.runtime;
        request.volume_directory = (*opened)->host_directory();
        request.limits = host_limits(w->settings.limits);
        request.renewal.setup = setup_for(*w);
        request.renewal.generation = generation;
        request.renewal.forked = how == Raise::fork;
        auto restored = co_await sandboxes.restore(request);
        for (int tries = 0; !restored && base::is(restored.error(), base::errc::busy); ++tries) {
            bool const again = co_await wait_for_slot(tries);
            if (!again) break;
            restored = co_await sandboxes.restore(request);
        }
        if (restored) {
            out.sandbox = restored->sandbox;
            out.memory = true;
            out.memory_bytes = image->info.bytes;
            co_return out;
        }
        // An image that is of no use is no reason not to come back; a node that is full is.
        bool const useless = sandbox::image_reason(restored.error())[0] != '\0';
        if (how == Raise::fork || !useless) co_return restored.error();
        out.why = restored.error().message();
    }
    auto taken = co_await take(w->record.template_name, w->settings.runtime, kNewSandbox);
    if (!taken) co_return taken.error();
    out.sandbox = taken->sandbox;
    out.memory_bytes = kNewSandbox;
    auto ready = out.sandbox->set_limits(host_limits(w->settings.limits));
    if (ready) ready = out.sandbox->attach_volume((*opened)->host_directory());
    if (ready) ready = co_await out.sandbox->guest().configure(setup_for(*w));
    if (ready) co_return out;
    (void)co_await out.sandbox->destroy();
    co_return ready.error();
}

// What the guest knows of commands is what they are now; the records say what they were called.
Task<void> Workspaces::Impl::record_processes(Ptr w, std::map<std::string, std::string> origins) {
    auto seen = co_await w->sandbox->guest().processes();
    if (!seen) co_return;
    std::vector<registry::ProcessRecord> out;
    for (auto const& p : *seen) {
        auto const renamed = origins.find(p.id);
        auto stored = co_await records.process(renamed == origins.end() ? p.id : renamed->second);
        auto const known = stored && *stored;
        out.push_back(record_of(w->record.id, w->record.generation, known ? (*stored)->command : "", p));
        if (known) out.back().keep_alive = (*stored)->keep_alive;
        if (known) out.back().background = (*stored)->background;
        processes.insert_or_assign(p.id, out.back());
    }
    if (!out.empty()) (void)co_await records.put_processes(std::move(out));
}

Task<Result<sandbox::OpenImage>> Workspaces::Impl::open_image(Workspace const& w, sandbox::ImageRef ref) {
    if (!images) co_return base::error(base::errc::unavailable, "this server keeps no memory images");
    auto here = sandboxes.image_facts(w.record.template_name, w.settings.runtime);
    if (!here) co_return here.error();
    auto opened = co_await images->open(std::move(ref), *here);
    co_return opened;
}

// The switch: one record names the new sandbox and its files, and no longer the old ones, which go
// afterwards.
Task<Status> Workspaces::Impl::become(Ptr w, registry::WorkspaceRecord next, Raised raised) {
    next.state = recorded(State::running);
    next.slot = raised.sandbox->slot_id();
    next.last_error.clear();
    next.fidelity = raised.memory ? "memory" : "files";
    next.fidelity_reason = raised.why;
    next.active_ms = now_ms();
    registry::ImageChange change;
    if (w->image) change.remove.push_back(w->image->image);
    if (auto s = co_await records.update_workspace_images(next, change); !s) co_return s;
    co_await keep_tails(w, true);
    auto lost = lose_processes(w, "restored");
    if (!lost.empty()) (void)co_await records.put_processes(std::move(lost));
    auto const old = std::exchange(w->sandbox, raised.sandbox);
    auto const old_files = std::exchange(w->record, std::move(next)).volume;
    w->memory_bytes = raised.memory_bytes;
    w->happens(Event::restored);
    if (auto s = equip(w); !s) spdlog::warn("workspace {}: {}", w->record.id, s.error().message());
    if (auto image = std::exchange(w->image, std::nullopt)) forget_image(std::move(*image));
    if (old) (void)co_await old->destroy();
    co_await see_off(w);
    if (auto s = co_await volumes.remove(old_files); !s)
        spdlog::warn("workspace {}: its former files: {}", w->record.id, s.error().message());
    co_return Status();
}

Task<Result<RestoredTo>> Workspaces::Impl::restore(Ptr w, registry::SnapshotRecord snapshot,
                                                   std::optional<std::string> keep_as) {
    auto const begun = base::Clock::now();
    RestoredTo out;
    out.snapshot = snapshot.id;
    if (keep_as) {
        auto kept = co_await this->snapshot(w, *keep_as);
        if (!kept) co_return base::wrap(kept.error(), "nothing was restored; to keep the present state");
        out.kept = kept->snapshot;
    }
    auto const volume = "v-" + base::random_id(16);
    auto copied = co_await volumes.clone(snapshot.volume, volume);
    if (!copied) co_return base::wrap(copied.error(), "nothing was restored");
    out.files_bytes = copied->bytes;

    std::optional<sandbox::OpenImage> image;
    out.why = snapshot.note;
    if (!snapshot.image.empty()) {
        sandbox::ImageRef ref;
        ref.workspace_id = w->record.id;
        ref.image_id = snapshot.image;
        ref.generation = snapshot.generation;
        auto opened = co_await open_image(*w, ref);
        if (opened)
            image = std::move(*opened);
        else
            out.why = opened.error().message();
    }
    auto next = w->record;
    next.volume = volume;
    next.generation += 1;
    next.sleeps += 1;
    if (image) {
        if (auto room = co_await make_room(image->info.bytes, false); !room) {
            (void)co_await volumes.remove(volume);
            co_return base::wrap(room.error(), "nothing was restored");
        }
    }
    Arriving const counted(*this, image ? image->info.bytes : 0);
    auto raised = co_await raise(w, volume, next.sleeps, image ? &*image : nullptr, Raise::restore);
    if (!raised) {
        (void)co_await volumes.remove(volume);
        co_return base::wrap(raised.error(), "nothing was restored");
    }
    out.memory = raised->memory;
    if (out.memory) out.memory_bytes = image->info.bytes;
    else if (!snapshot.image.empty()) out.dropped.push_back(kAllMemory);
    if (int const n = w->streams; n > 0)
        out.dropped.push_back(std::to_string(n) + (n == 1 ? " network connection" : " network connections"));
    if (!raised->why.empty()) out.why = raised->why;
    if (out.memory) out.why.clear();
    raised->why = out.why;
    auto switched = co_await become(w, std::move(next), *raised);
    if (!switched) {
        // What was asked of a registry that did not answer in time still happens: taken back, behind it. Until that is
        // certain the record may name the new files, which stay.
        registry::ImageChange change;
        if (w->image) change.remove.push_back(w->image->image);
        change.add = w->image;
        auto taken_back = co_await records.update_workspace_images(w->record, change);
        (void)co_await raised->sandbox->destroy();
        if (taken_back) (void)co_await volumes.remove(volume);
        co_return base::wrap(switched.error(), "nothing was restored");
    }
    std::map<std::string, std::string> const same_names;
    co_await record_processes(w, same_names);
    w->used();
    tell(*w);
    out.view = view(*w);
    out.ms = elapsed_ms(begun);
    co_return out;
}

Task<Result<RestoredTo>> Workspaces::restore(std::string owner, std::string id, std::string snapshot,
                                             std::optional<std::string> keep_as) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    auto record = impl_->find_snapshot(**w, snapshot);
    if (!record) co_return record.error();
    (*w)->used();
    (*w)->replaced = true;
    auto work = impl_->restore(*w, *record, std::move(keep_as));
    auto restored = co_await base::uncancelled(std::move(work));
    (*w)->replaced = false;
    co_return restored;
}

}  // namespace workspace
