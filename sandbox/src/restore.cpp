// The node's second stock, blank slots, and waking images in them.
#include "node.hpp"
#include "stopwatch.hpp"

#include <base/ids.hpp>
#include <base/syscalls.hpp>
#include <base/uncancelled.hpp>

#include <sys/stat.h>
#include <unistd.h>

namespace sandbox {

using base::errc;
using base::error;
using base::milliseconds;

namespace {

// Loading is work for the processor: more at once make each slower and the first one late.
constexpr int kRestoresPerBoot = 2;
constexpr std::size_t kMaxQueue = 1024;

}  // namespace

int Node::starting() const {
    int n = unlisted_blanks_;
    for (auto const& shelf : shelves_) n += shelf.booting + shelf.making;
    return n;
}

base::Task<void> Node::make_blank(std::size_t index) {
    auto const self = shared_from_this();
    auto& shelf = shelves_[index];
    auto live = co_await start(shelf.image, shelf.runtime, guest_build_, Start::create, Pace::background);
    if (live) unhurried_.erase((*live)->slot_id());
    --shelf.making;
    if (let_go_) co_return;
    if (live && (*live)->alive() && (*live)->freeze()) {
        shelf.blank.push_back(std::move(*live));
        shelf.failures = 0;
    } else {
        put_off(shelf, "make a blank sandbox of template " + shelf.image.name + ": " + (live ? "it ended" : live.error().message()), 0.5);
        if (live) discard(std::move(*live));
    }
    pump();
}

Node::LivePtr Node::pop_blank(Shelf& shelf) {
    while (!shelf.blank.empty()) {
        auto live = std::move(shelf.blank.front());
        shelf.blank.pop_front();
        if (shelf.blank.empty()) shelf.bare_since = base::Clock::now();
        if (live->alive() && !live->doomed()) return live;
        discard(std::move(live));
    }
    return nullptr;
}

base::Task<base::Result<Node::LivePtr>> Node::blank_for(Shelf* shelf, std::string guest_build, bool* warm) {
    auto const self = shared_from_this();
    if (guest_build == guest_build_)
        if (auto live = pop_blank(*shelf)) {
            *warm = true;
            co_return live;
        }
    if (running() + starting() >= options_.max_sandboxes && !evict_for(*shelf, Start::create))
        co_return error(errc::busy, "all " + std::to_string(options_.max_sandboxes) + " sandboxes are in use");
    ++unlisted_blanks_;
    auto live = co_await start(shelf->image, shelf->runtime, guest_build, Start::create, Pace::normal);
    --unlisted_blanks_;
    co_return live;
}

base::Result<ImageFacts> Node::image_facts(std::string const& name, RuntimeKind runtime) const {
    for (auto const& shelf : shelves_) {
        if (shelf.image.name != name || shelf.runtime->kind() != runtime) continue;
        ImageFacts facts;
        facts.template_name = name;
        facts.template_stamp = shelf.image.stamp;
        facts.runtime_build = shelf.runtime->build();
        // Any whose program is still here: the image says which.
        facts.cpu = *cpu_;
        return facts;
    }
    return missing(name, runtime);
}

base::Task<base::Result<Restored>> Node::restore(RestoreRequest request) {
    auto const self = shared_from_this();
    if (stopping_) co_return error(errc::unavailable, "the server stops");
    auto here = image_facts(request.template_name, request.runtime);
    if (!here) co_return here.error();
    if (auto s = check_image(request.image.info.facts, *here); !s) co_return s.error();
    struct stat st{};
    if (::stat(guest_path(request.image.info.facts.guest_build).c_str(), &st) != 0)
        co_return error(image_errc::other_runtime, "the guest program of the image is no longer here");

    auto const began = base::Clock::now();
    bool const throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    if (restoring_ >= kRestoresPerBoot * options_.max_boots) {
        if (restore_queue_.size() >= kMaxQueue) co_return error(errc::busy, "too many sandboxes wait to be restored");
        auto const turn = std::make_shared<Waiter>(io_);
        restore_queue_.push_back(turn);
        turn->wake.expires_after(options_.restore_limit);
        co_await turn->wake.async_wait(base::as_tuple);
        bool const called = std::erase(restore_queue_, turn) == 0;    // whoever ended gave us its place
        bool const cancelled = co_await base::is_cancelled();
        if (called && (cancelled || stopping_)) {
            --restoring_;
            next_restore();
        }
        if (cancelled) co_return error(errc::cancelled, "restore a sandbox");
        if (stopping_) co_return error(errc::unavailable, "the server stops");
        if (!called) co_return error(errc::unavailable, "no sandbox could be restored in time");
    } else {
        ++restoring_;
    }
    co_await asio::this_coro::throw_if_cancelled(throws);
    double const waited = std::chrono::duration<double, std::milli>(base::Clock::now() - began).count();
    auto work = restore_one(std::move(request));
    auto restored = co_await base::uncancelled(std::move(work));
    --restoring_;
    next_restore();
    if (restored) restored->phases.insert(restored->phases.begin(), Phase{"queue", waited});
    pump();
    co_return restored;
}

void Node::next_restore() {
    if (restore_queue_.empty() || restoring_ >= kRestoresPerBoot * options_.max_boots) return;
    auto const turn = restore_queue_.front();
    restore_queue_.pop_front();
    ++restoring_;
    turn->wake.cancel();
}

base::Task<base::Result<Restored>> Node::restore_one(RestoreRequest request) {
    auto const self = shared_from_this();
    Restored out;
    Stopwatch watch(out.phases);
    last_claim_ = base::Clock::now();
    auto* const shelf = shelf_of(request.template_name, request.runtime);
    auto live = co_await blank_for(shelf, request.image.info.facts.guest_build, &out.warm);
    watch.lap("slot");
    if (!live) {
        auto failed = base::wrap(live.error(), "make a sandbox to restore into");
        if (is(failed, errc::busy)) co_return failed;
        co_return error(errc::unavailable, failed.message());    // whatever it was, the image is not to blame
    }
    auto const one = *live;
    one->hurry();
    base::Status outcome = one->slot().mark_claimed();
    if (outcome && request.chosen) {
        outcome = co_await request.chosen(one->slot_id());
        watch.lap("record");
    }
    if (outcome) outcome = one->set_limits(request.limits);
    if (outcome && !request.volume_directory.empty()) outcome = one->attach_volume(request.volume_directory);
    if (outcome) outcome = one->thaw();
    watch.lap("prepare");
    if (!outcome && (is(outcome.error(), errc::not_found) || is(outcome.error(), errc::timed_out) ||
                     is(outcome.error(), errc::corrupt)))
        outcome = error(errc::unavailable, outcome.error().message());    // nothing was read of the image yet
    if (outcome) {
        outcome = co_await one->restore(std::move(request.image), std::move(request.renewal), options_.restore_limit,
                                        &out.phases);
        watch.skip();
    }
    if (outcome && let_go_) outcome = error(errc::unavailable, "the server stops");
    if (!outcome) {
        auto destroyed = co_await one->destroy();
        if (!destroyed) trouble(destroyed.error().message());
        co_return outcome.error();
    }
    last_claim_ = base::Clock::now();            // the quiet is for what its callers do now
    out.sandbox = one;
    co_return out;
}

}  // namespace sandbox
