// Memory to disk. The record goes first; the image is sealed, flushed and recorded while everything inside
// stands still, and only then does the sandbox end.
#include "impl.hpp"
#include <base/syscalls.hpp>
#include <base/timeout.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <unistd.h>

namespace workspace {
namespace {

// A sleep that was refused is not tried again before, unless someone asks for it.
constexpr base::milliseconds kRefusedFor{60'000};
constexpr base::milliseconds kNeverWill{24 * 3'600'000};

// What is in memory refers to the files as they are now: the disk has them before it has the image.
Status flush_files(std::string const& directory) {
    auto fd = base::sys::open(directory, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    if (::syncfs(fd->get()) != 0) return base::errno_error("flush the files");
    return {};
}

std::string offer(base::Error const& e) {
    auto text = e.message() + "; the workspace goes on running.";
    if (is(e, sandbox::image_errc::unsupported)) return text + " Pass files_only: true to keep the files alone.";
    if (is(e, sandbox::image_errc::open_deleted_file))
        text += " Close the file";
    else
        text += " Try again";
    return text + ", or pass files_only: true to keep the files alone.";
}

}  // namespace

Task<Result<Slept>> Workspaces::Impl::hibernate(Ptr w, HibernateRequest request) {
    auto const began = base::Clock::now();
    Slept slept;
    if (w->deleted())
        co_return base::error(base::errc::not_found, "workspace " + w->record.id + " was deleted");
    put_right(*w);
    bool const files = request.files_only || !images;
    if (w->state == State::stopped || (w->state == State::hibernated && !files)) {
        slept.was_asleep = true;
        slept.fidelity = w->state == State::hibernated ? "memory" : "files";
    } else if (files) {
        if (w->sandbox) slept.dropped.push_back(kAllMemory);
        auto rested = co_await put_to_rest(w, "");
        if (!rested) co_return rested.error();
        slept.fidelity = "files";
    } else {
        if (!w->sandbox || !w->sandbox->alive())
            co_return base::error(base::errc::unavailable,
                                  "the workspace's sandbox has just ended; call again");
        auto done = co_await checkpoint(w, &slept, kSaveLimit);
        if (!done) {
            ++counts.refused;
            w->sleep_again = base::Clock::now() + (is(done.error(), sandbox::image_errc::unsupported) ? kNeverWill : kRefusedFor);
            spdlog::info("workspace {}: does not hibernate: {}", w->record.id, done.error().message());
            auto refused = done.error();
            refused.context = offer(refused);
            co_return refused;
        }
        slept.fidelity = "memory";
        ++counts.hibernated;
    }
    if (w->image) slept.bytes = w->image->bytes;
    slept.took_ms = elapsed_ms(began);
    slept.view = view(*w);
    co_return slept;
}

Task<Status> Workspaces::Impl::checkpoint(Ptr w, Slept* slept, base::milliseconds limit) {
    using namespace asio::experimental::awaitable_operators;
    auto last = base::Clock::now();
    auto const lap = [&](char const* name) {
        slept->phases.push_back({name, elapsed_ms(last)});
        last = base::Clock::now();
    };
    auto const sandbox = w->sandbox;
    w->happens(Event::hibernate);
    auto before = w->record;
    before.state = recorded(State::running);
    w->record.state = recorded(State::hibernating);
    auto noted = co_await records.update_workspace(w->record);
    lap("record");
    auto volume = co_await volumes.open_volume(w->record.volume);
    auto const used = sandbox->usage();
    sandbox::ImageRef ref;
    ref.workspace_id = w->record.id;
    ref.image_id = w->next_image();
    ref.generation = w->record.sleeps + 1;
    Status outcome = noted;
    if (outcome && !volume) outcome = volume.error();
    base::Result<sandbox::ImageDraft> draft = base::error(base::errc::unavailable, "");
    if (outcome) {
        co_await keep_tails(w, false);
        lap("output");
        draft = co_await images->begin(ref, used ? used->memory_bytes : w->settings.limits.memory_bytes);
        if (!draft) outcome = draft.error();
    }

    auto hibernated = w->record;
    hibernated.state = recorded(State::hibernated);
    hibernated.slot.clear();
    hibernated.sleeps += 1;
    hibernated.last_error.clear();
    registry::ImageRecord image;
    auto keep = [&](sandbox::Checkpointed const& done) -> Task<Result<sandbox::AfterKeep>> {
        last = base::Clock::now();
        auto flush = [directory = (*volume)->host_directory()] { return flush_files(directory); };
        auto flushing = base::blocking(pool, std::move(flush));
        auto sealing = images->publish(*draft, done.facts);
        auto both = std::move(sealing) && std::move(flushing);
        auto [published, flushed] = co_await std::move(both);
        slept->phases.push_back({"seal", elapsed_ms(last)});
        last = base::Clock::now();
        draft->reserved = 0;  // settled either way: not given back once more when the draft is thrown away
        if (!published) co_return published.error();
        image.workspace = ref.workspace_id;
        image.image = ref.image_id;
        image.generation = ref.generation;
        image.bytes = published->bytes;
        image.template_stamp = done.facts.template_stamp;
        image.runtime_build = done.facts.runtime_build;
        image.guest_build = done.facts.guest_build;
        image.created_ms = published->created_ms;
        Status kept = flushed;
        if (kept) {
            registry::ImageChange change;
            change.add = image;
            kept = co_await records.update_workspace_images(hibernated, change);
        }
        slept->phases.push_back({"commit", elapsed_ms(last)});
        last = base::Clock::now();
        if (kept) co_return sandbox::AfterKeep::end;
        (void)co_await images->remove(ref.workspace_id, ref.image_id);
        co_return kept.error();
    };
    if (outcome) {
        auto const first_of_save = slept->phases.size();
        lap("begin");
        sandbox::Keep const keeper = keep;
        auto saving = sandbox->checkpoint(draft->directory, limit, keeper);
        auto saved = co_await std::move(saving);
        if (saved) {
            slept->dropped = w->lost_asleep = saved->dropped;
            auto const at = slept->phases.begin() + static_cast<std::ptrdiff_t>(first_of_save) + 1;
            slept->phases.insert(at, saved->phases.begin(), saved->phases.end());
            lap("end");
        } else {
            outcome = saved.error();
            co_await images->discard(std::move(*draft));
        }
    }
    if (outcome) {
        w->record = std::move(hibernated);
        w->image = std::move(image);
        w->sandbox.reset();
        w->leaving = sandbox;
        w->memory_bytes = 0;
        w->happens(Event::kept);
        asio::co_spawn(io, put_away(w), asio::detached);
        tell(*w);
        co_return outcome;
    }
    if (sandbox->alive()) {
        if (sandbox->frozen()) (void)sandbox->thaw();
        before.sleeps = w->record.sleeps;
        w->record = std::move(before);
        w->happens(Event::failed);
        // Its commit, if there was one that did not answer in time, still happens: undone behind it.
        registry::ImageChange change;
        change.remove.push_back(ref.image_id);
        (void)co_await records.update_workspace_images(w->record, change);
    } else if (w->sandbox == sandbox) {
        // Its own handler waits for this turn, and others may wait ahead of it.
        co_await bury_held(w);
    }
    tell(*w);
    co_return outcome;
}

// What is left of a sandbox that sleeps: its slot. The mount of its files stays for a while, for those who call again soon and
// for the file tools; the idle loop undoes it.
Task<void> Workspaces::Impl::put_away(Ptr w) {
    ++background;
    co_await see_off(w);
    w->unmount_at = base::Clock::now() + kMountKept;
    --background;
}

Task<void> Workspaces::Impl::see_off(Ptr w) {
    auto const gone = w->leaving;
    if (!gone) co_return;
    (void)co_await gone->destroy();
    if (w->leaving == gone) w->leaving.reset();
}

void Workspaces::Impl::forget_image(registry::ImageRecord image) {
    if (!images) return;
    auto work = [](Impl* self, registry::ImageRecord one) -> Task<void> {
        ++self->background;
        auto removed = co_await self->images->remove(one.workspace, one.image);
        if (!removed)
            spdlog::warn("memory image {} of {}: {}", one.image, one.workspace, removed.error().message());
        --self->background;
    };
    asio::co_spawn(io, work(this, std::move(image)), asio::detached);
}

}  // namespace workspace
