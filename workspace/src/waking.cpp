// Memory from disk. `waking` is recorded with the slot before anything is loaded, `running` once the guest
// has answered; the image is given up in that same commit, since from there on it is behind the files.
#include "impl.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <spdlog/spdlog.h>

namespace workspace {
namespace {

// Errors that say something about the image, and not about the moment.
bool for_good(base::Error const& e) {
    return *sandbox::image_reason(e) != '\0' || base::is(e, base::errc::not_found) ||
           base::is(e, base::errc::timed_out) || base::is(e, base::errc::corrupt);
}

std::string in_plain_words(base::Error const& e) {
    std::string const reason = sandbox::image_reason(e);
    if (!reason.empty()) return reason + ": " + e.message();
    if (base::is(e, base::errc::timed_out)) return "timed_out: the memory image could not be loaded in time";
    if (base::is(e, base::errc::not_found)) return "missing: the memory image is not on the disk any more";
    return e.message();
}

}  // namespace

Task<Status> Workspaces::Impl::wake_image(Ptr w, Arrival* arrival, std::string* unusable) {
    using namespace asio::experimental::awaitable_operators;
    auto last = base::Clock::now();
    auto const lap = [&](char const* name) {
        arrival->phases.push_back({name, elapsed_ms(last)});
        last = base::Clock::now();
    };
    auto const image = *w->image;
    auto const asleep = w->record;
    w->happens(Event::wake);
    tell(*w);
    Status outcome;
    sandbox::ImageRef ref;
    ref.workspace_id = image.workspace;
    ref.image_id = image.image;
    ref.generation = image.generation;
    auto here = sandboxes.image_facts(w->record.template_name, w->settings.runtime);
    // A template that this server lacks may be back with the next: no reason to give the memory up.
    if (!here) outcome = base::error(base::errc::unavailable, here.error().message());
    std::shared_ptr<Volume> volume;
    sandbox::RestoreRequest request;
    if (outcome) {
        auto mounting = volumes.open_volume(w->record.volume);
        auto verifying = images->open(ref, *here);
        auto both = std::move(mounting) && std::move(verifying);
        auto [mounted, verified] = co_await std::move(both);
        lap("verify");
        if (!verified)
            outcome = verified.error();
        else
            request.image = std::move(*verified);
        // Without its files there is nothing to fall back to either.
        if (!mounted) {
            w->happens(Event::failed);
            co_return base::wrap(mounted.error(), "open the files of " + w->record.id);
        }
        volume = std::move(*mounted);
    }
    std::shared_ptr<sandbox::Sandbox> woken;
    if (outcome) {
        request.template_name = w->record.template_name;
        request.runtime = w->settings.runtime;
        request.volume_directory = volume->host_directory();
        request.limits = host_limits(w->settings.limits);
        request.renewal.setup = setup_for(*w);
        request.renewal.generation = image.generation;
        request.renewal.forked = image.forked;
        request.chosen = [this, w](std::string slot) -> Task<Status> {
            w->record.state = recorded(State::waking);
            w->record.slot = std::move(slot);
            co_return co_await records.update_workspace(w->record);
        };
        auto restored = co_await sandboxes.restore(std::move(request));
        if (restored) {
            woken = restored->sandbox;
            arrival->phases.insert(arrival->phases.end(), restored->phases.begin(), restored->phases.end());
        } else {
            outcome = restored.error();
        }
        last = base::Clock::now();
    }
    if (outcome) {
        auto running = w->record;
        running.state = recorded(State::running);
        running.last_error.clear();
        running.fidelity = "memory";
        running.fidelity_reason.clear();
        running.active_ms = now_ms();
        registry::ImageChange change;
        change.remove.push_back(image.image);
        auto noted = co_await records.update_workspace_images(running, change);
        lap("commit");
        // There is no way back: what ran since then has seen the files, and an image runs once. The record says `waking` and
        // names the slot, which the next server takes back.
        if (!noted)
            spdlog::error("workspace {}: it is awake, which could not be recorded: {}", w->record.id,
                          noted.error().message());
        w->record = std::move(running);
        w->sandbox = woken;
        w->image.reset();
        w->memory_bytes = image.bytes;
        w->happens(Event::woken);
        ++counts.woken;
        forget_image(image);
        auto equipped = equip(w);
        if (!equipped) spdlog::warn("workspace {}: {}", w->record.id, equipped.error().message());
        lap("equip");
        co_return Status();
    }
    w->record = asleep;
    if (for_good(outcome.error())) {
        *unusable = in_plain_words(outcome.error());
        spdlog::warn("workspace {}: its memory is lost, it starts from its files: {}", w->record.id,
                     *unusable);
        w->record.state = recorded(State::stopped);
        w->record.fidelity = "files";
        w->record.fidelity_reason = *unusable;
        registry::ImageChange change;
        change.remove.push_back(image.image);
        if (auto s = co_await records.update_workspace_images(w->record, change); !s) {
            w->record = asleep;
            w->happens(Event::failed);
            unusable->clear();
            co_return s;
        }
        co_await end_processes(w, "lost");
        w->image.reset();
        w->happens(Event::unusable);
        forget_image(image);
    } else {
        w->happens(Event::failed);
        (void)co_await records.update_workspace(w->record);
    }
    co_return outcome;
}

// What is to be done to make it awake, whatever it is now. `arrival` says how it came back.
Task<Status> Workspaces::Impl::bring_up(Ptr w, Arrival* arrival) {
    auto const began = base::Clock::now();
    auto const id = w->record.id;
    if (w->deleted()) co_return base::error(base::errc::not_found, "workspace " + id + " was deleted");
    put_right(*w);
    if (w->sandbox && w->sandbox->alive()) {
        if (!w->sandbox->frozen()) co_return Status();
        auto thawed = w->sandbox->thaw();
        if (thawed) {
            w->happens(Event::thaw);
            arrival->way = Arrival::Way::thawed;
            tell(*w);
        }
        co_return thawed;
    }
    if (w->sandbox) co_await bury_held(w);  // it has just died
    std::string unusable;
    if (w->state == State::hibernated && w->image && images) {
        auto room = co_await make_room(w->image->bytes, false);
        if (!room) co_return room;
        Arriving const counted(*this, w->image->bytes);
        arrival->phases.push_back({"room", elapsed_ms(began)});
        arrival->bytes = w->image->bytes;
        auto woken = co_await wake_image(w, arrival, &unusable);
        for (int tries = 0; !woken && base::is(woken.error(), base::errc::busy); ++tries) {
            bool const again = co_await wait_for_slot(tries);
            if (!again) break;
            woken = co_await wake_image(w, arrival, &unusable);
        }
        if (woken) {
            arrival->way = Arrival::Way::woken;
            arrival->fidelity = "memory";
            arrival->dropped = std::exchange(w->lost_asleep, {});
            arrival->took_ms = elapsed_ms(began);
            tell(*w);
            keep_spare();
            co_return woken;
        }
        if (unusable.empty()) {
            tell(*w);
            co_return base::wrap(woken.error(), "wake " + id + " (its memory is kept; call again)");
        }
    }
    auto started = co_await start_from_files(w);
    if (started) {
        if (!unusable.empty()) {
            ++counts.from_files;
            arrival->dropped.push_back(kAllMemory);
        }
        arrival->bytes = 0;
        arrival->way = Arrival::Way::started;
        arrival->fidelity = "files";
        arrival->reason = w->record.fidelity_reason;
        arrival->took_ms = elapsed_ms(began);
    }
    tell(*w);
    co_return started;
}

}  // namespace workspace
