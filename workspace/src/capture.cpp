// A workspace at one instant, without ending it: what snapshots and forks are made of.
#include "capture.hpp"

#include <base/ids.hpp>

#include <spdlog/spdlog.h>

namespace workspace {
namespace {

constexpr base::milliseconds kCaptureLimit{120'000};
constexpr std::uint64_t kImageOverhead = 16ull << 20;  // of the runtime's own state

}  // namespace

// Memory is saved while everything inside stands still, and the files are copied before it goes on: one
// instant for both.
Task<Status> Workspaces::Impl::capture_running(Ptr w, std::string image_id, Lasts lasts, Captured& out) {
    auto const usage = w->sandbox->usage();
    sandbox::ImageRef ref;
    ref.workspace_id = w->record.id;
    ref.image_id = std::move(image_id);
    ref.generation = ++w->record.sleeps;
    auto draft = co_await images->begin(ref, (usage ? usage->memory_bytes : 0) + kImageOverhead);
    if (!draft) {
        out.why = draft.error().message();
        co_return Status();
    }
    draft->short_lived = lasts == Lasts::a_moment;
    std::optional<Result<VolumeCopy>> files;
    auto const keep = [this, w, &out,
                       &files](sandbox::Checkpointed const& done) -> Task<Result<sandbox::AfterKeep>> {
        auto const from = base::Clock::now();
        auto copied = co_await volumes.clone(w->record.volume, out.volume, config.snapshots.max_still);
        if (!copied && base::is(copied.error(), base::errc::timed_out))
            copied = base::error(base::errc::limit, "its files take longer to copy than it may stand still "
                                                    "(snapshots.max_still); hibernate it first, its files are then copied "
                                                    "while it sleeps");
        files = copied;
        for (auto const& phase : done.phases)
            if (phase.name == "pause" || phase.name == "save") out.still_ms += phase.ms;
        out.still_ms += elapsed_ms(from);
        if (!copied) co_return copied.error();
        co_return sandbox::AfterKeep::go_on;
    };
    auto const sandbox = w->sandbox;
    bool const froze = w->state == State::frozen;
    sandbox::Keep const keeper = keep;
    auto saving = sandbox->checkpoint(draft->directory, kCaptureLimit, keeper);
    auto saved = co_await std::move(saving);
    if (froze && sandbox->alive() && !sandbox->frozen()) w->happens(Event::thaw);
    if (files && *files) out.copied = true, out.files_bytes = (*files)->bytes;
    if (!saved) {
        co_await images->discard(*draft);
        if (files && !*files) co_return files->error();
        out.why = saved.error().message();
        co_return Status();
    }
    out.dropped = saved->dropped;
    auto published = co_await images->publish(*draft, saved->facts);
    if (published)
        out.image = std::move(*published);
    else
        out.why = published.error().message();
    co_return Status();
}

Task<Result<Workspaces::Impl::Captured>> Workspaces::Impl::capture(Ptr w, std::string image_id, Lasts lasts) {
    Captured out;
    out.volume = "v-" + base::random_id(16);
    Status done;
    if (w->sandbox && !w->sandbox->alive()) co_await bury_held(w);
    // A copy stops the writes to what is mounted here, which the files of a sandbox that was taken back are not yet.
    std::shared_ptr<Volume> mounted;
    if (w->sandbox || w->leaving) {
        auto opened = co_await volumes.open_volume(w->record.volume);
        if (!opened) co_return opened.error();
        mounted = std::move(*opened);
    }
    if (!images) {
        out.why = "this server keeps no memory images";
    } else if (w->sandbox) {
        done = co_await capture_running(w, std::move(image_id), lasts, out);
        tell(*w);
    } else if (w->state == State::hibernated && w->image) {
        sandbox::ImageRef from, to;
        from.workspace_id = to.workspace_id = w->record.id;
        from.generation = to.generation = w->image->generation;
        from.image_id = w->image->image;
        to.image_id = std::move(image_id);
        auto linked = co_await images->clone(from, to);
        if (linked)
            out.image = std::move(*linked);
        else
            out.why = linked.error().message();
    } else {
        out.why = "it was stopped, without memory";
    }
    if (done && !out.copied) {
        auto made = co_await volumes.clone(w->record.volume, out.volume);
        if (made)
            out.copied = true, out.files_bytes = made->bytes;
        else
            done = made.error();
    }
    if (done) co_return out;
    auto const failed = done.error();
    co_await forget(w->record.id, out);
    co_return failed;
}

Task<void> Workspaces::Impl::forget(std::string workspace, Captured captured) {
    if (captured.image) (void)co_await images->remove(workspace, captured.image->ref.image_id);
    (void)co_await volumes.remove(captured.volume);
}

}  // namespace workspace
