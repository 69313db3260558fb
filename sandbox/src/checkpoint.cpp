// A sandbox to an image and back.
#include "live.hpp"
#include "stopwatch.hpp"

#include <base/processes.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>

#include <filesystem>

namespace sandbox {

using base::errc;
using base::error;
using base::milliseconds;

namespace {

constexpr milliseconds kPause{10'000};
constexpr milliseconds kDeath{1'000}, kLook{5};
// Beyond the limit of a save that is still under way: it has to end before anything inside can go on.
constexpr milliseconds kResume{120'000};
constexpr std::uint64_t kRoom = 256ull << 20;    // what the runtime needs for itself while it writes
constexpr std::size_t kMaxNamed = 3;

std::string describe(std::vector<DeletedFile> const& files) {
    std::string text;
    for (std::size_t i = 0; i < files.size() && i < kMaxNamed; ++i)
        text += (i ? ", " : "") + files[i].program + " (process " + std::to_string(files[i].pid) + ") has " + files[i].path +
                " open";
    if (files.size() > kMaxNamed) text += " and " + std::to_string(files.size() - kMaxNamed) + " more";
    return text + ", which was deleted";
}

// The runtime hung up without an answer.
bool broke_off(base::Error const& e) {
    return e.code == asio::error::eof || e.code == asio::error::connection_reset || e.code == asio::error::broken_pipe;
}

void empty(std::string const& directory) {
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec))
        (void)base::sys::unlink(it->path());
}

}  // namespace

ImageFacts Live::image_facts() const {
    ImageFacts facts;
    facts.template_name = parts_.record.template_name;
    facts.template_stamp = parts_.record.stamp;
    facts.runtime_build = parts_.runtime->image_build(parts_.record.runtime_build);
    facts.guest_build = parts_.record.guest_build;
    if (parts_.cpu) facts.cpu = *parts_.cpu;
    return facts;
}

base::Task<base::Result<Checkpointed>> Live::checkpoint(std::string directory, milliseconds limit, Keep keep) {
    if (death_) co_return error(errc::unavailable, "the sandbox is gone: " + death_->detail);
    if (auto s = parts_.runtime->can_keep_memory(); !s) co_return s.error();
    if (saving_) co_return error(errc::busy, "a checkpoint of the sandbox is under way");
    auto work = save(shared_from_this(), std::move(directory), limit, std::move(keep));
    auto result = co_await base::uncancelled(std::move(work));
    co_return result;
}

base::Task<base::Result<Checkpointed>> Live::save(std::shared_ptr<Live> self, std::string directory, milliseconds limit,
                                                  Keep keep) {
    self->saving_ = true;
    Checkpointed done;
    done.facts = self->image_facts();
    Stopwatch watch(done.phases);
    base::Status outcome = self->thaw();
    bool quiet_inside = false;
    if (outcome) {
        // Without an answer too: one that comes late would leave everything inside without its network.
        quiet_inside = true;
        auto quiet = co_await self->guest_.quiesce();
        if (!quiet) {
            outcome = quiet.error();
        } else {
            if (!quiet->deleted.empty()) outcome = error(image_errc::open_deleted_file, describe(quiet->deleted));
            else if (int const n = quiet->connections_closed; n > 0)
                done.dropped.push_back(std::to_string(n) + (n == 1 ? " network connection" : " network connections"));
        }
        watch.lap("quiesce");
    }
    if (outcome) {
        // The pages that are written count as the sandbox's until the disk has them.
        auto const used = self->usage();
        Limits roomy = self->parts_.limits;
        roomy.memory_bytes += (used ? used->memory_bytes : roomy.memory_bytes) + kRoom;
        (void)self->parts_.cgroup.set(roomy);
        outcome = co_await self->save_paused(directory, limit, &done.phases);
    }
    bool const at_a_stand = outcome.has_value();
    // The next server finds the mark and lets it go on: nobody is left here to publish the image.
    if (self->let_go_) co_return error(errc::unavailable, "the server stops");
    if (outcome && self->death_) outcome = error(errc::unavailable, "the sandbox died: " + self->death_->detail);
    auto after = AfterKeep::end;
    if (outcome && keep) {
        auto kept = co_await keep(done);
        if (kept) after = *kept;
        else outcome = kept.error();
        if (self->let_go_ && !outcome) co_return outcome.error();
    }
    if (outcome && after == AfterKeep::end) {
        self->saving_ = false;
        self->die({Death::Reason::hibernated, "it was put to sleep"});
        // Its memory takes as long to give back as an image to seal: beside each other, where nobody sealed it yet.
        if (!std::exchange(self->taking_apart_, true)) asio::co_spawn(self->io_, take_apart(self), asio::detached);
        co_return done;
    }
    if (!outcome) empty(directory);
    if (at_a_stand) co_await self->go_on();
    if (!self->death_) {
        (void)self->parts_.cgroup.set(self->parts_.limits);
        if (quiet_inside) (void)co_await self->guest_.resume();
    }
    self->saving_ = false;
    if (!outcome) co_return outcome.error();
    co_return done;
}

base::Task<void> Live::go_on() {
    auto const self = shared_from_this();
    if (death_) co_return;
    auto resumed = co_await parts_.runtime->resume(parts_.slot, kResume);
    if (!resumed && !death_) {
        die({Death::Reason::runtime_error, "it did not go on after a checkpoint: " + resumed.error().message()});
        kill_now();
    }
    (void)parts_.slot.unmark_paused();
}

base::Task<base::Status> Live::save_paused(std::string directory, milliseconds limit, Phases* phases) {
    auto const self = shared_from_this();
    Stopwatch watch(*phases);
    if (auto s = parts_.slot.mark_paused(); !s) co_return s;
    // First, so that everything stands still until this is decided: after a save the runtime lets its own pause go.
    auto outcome = co_await parts_.runtime->pause(parts_.slot, kPause);
    watch.lap("pause");
    bool const paused = bool(outcome);
    if (paused) {
        outcome = co_await parts_.runtime->checkpoint(parts_.slot, directory, limit);
        watch.lap("save");
        if (outcome) co_return outcome;
    }
    co_await learn_of_death(outcome.error());
    if (let_go_) co_return outcome;
    if (death_) co_return error(errc::unavailable, "the sandbox died: " + death_->detail);
    // A pause that got no answer may have happened or not, and one resume too many ends the runtime.
    if (paused) co_await go_on();
    else (void)co_await unpause();
    co_return outcome;
}

base::Task<void> Live::learn_of_death(base::Error const& failed) {
    auto const self = shared_from_this();
    if (!broke_off(failed)) co_return;
    for (auto left = kDeath; left > milliseconds(0) && !death_ && !let_go_; left -= kLook) co_await base::sleep_for(kLook);
}

base::Task<base::Status> Live::unpause() {
    auto const self = shared_from_this();
    // Only when it does stand still: the runtime does not survive to be resumed when it is not paused.
    auto ping = [](std::shared_ptr<Live> one) -> base::Task<base::Result<bool>> {
        auto answered = co_await one->guest_.ping();
        if (!answered) co_return answered.error();
        co_return true;
    };
    auto answer = ping(self);
    auto answered = co_await base::with_timeout(std::move(answer), milliseconds(3'000), "the guest's answer");
    if (!answered && !death_)
        if (auto resumed = co_await parts_.runtime->resume(parts_.slot, kResume); !resumed) co_return resumed;
    co_return parts_.slot.unmark_paused();
}

// A later server that finds the mark of a blank slot loads the image once more: it goes before anything can run.
base::Status Live::begin_with(pid_t process) {
    if (death_ || let_go_) return error(errc::unavailable, "the sandbox is gone");
    bool const same = process == parts_.record.sentry;
    auto pidfd = same ? base::Result<base::UniqueFd>(base::UniqueFd()) : base::sys::pidfd_open(process);
    if (!pidfd) return pidfd.error();
    auto record = parts_.record;
    record.blank = false;
    record.sentry = process;
    record.sentry_start = same ? record.sentry_start : base::process_start(process);
    if (auto s = parts_.slot.write_record(record); !s) return s;
    parts_.record = std::move(record);
    if (same) return {};
    boost::system::error_code ignored;
    pidfd_.close(ignored);
    pidfd_.assign(pidfd->release());
    watch_process();
    return {};
}

base::Task<base::Status> Live::restore(OpenImage image, Renewal renewal, milliseconds limit, Phases* phases) {
    auto const self = shared_from_this();
    Stopwatch watch(*phases);
    auto const died = [this] {
        return error(image_errc::refused, "the sandbox died while it was restored: " + death_->detail);
    };
    parts_.record.guest_build = image.info.facts.guest_build;
    Begins const begins = [self](pid_t process) { return self->begin_with(process); };
    auto loaded = co_await parts_.runtime->restore(parts_.slot, image.directory, limit, begins);
    watch.lap("load");
    if (death_) co_return died();
    if (!loaded) {
        // A runtime that broke off said nothing: what it could not digest was the image.
        co_await learn_of_death(loaded.error());
        if (death_) co_return died();
        if (broke_off(loaded.error())) co_return error(image_errc::refused, "the runtime broke off while it read the image");
        co_return loaded;
    }
    auto renewed = co_await guest_.renew(std::move(renewal));
    watch.lap("renew");
    if (death_) co_return died();
    if (!renewed) co_return error(image_errc::refused, "after the restore: " + renewed.error().message());
    co_return base::Status();
}

}  // namespace sandbox
