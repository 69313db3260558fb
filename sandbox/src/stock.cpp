// The node's stock: claims, boots, and keeping the shelves filled as pool.hpp decides.
#include "node.hpp"

#include <base/ids.hpp>
#include <base/processes.hpp>
#include <base/timeout.hpp>

#include <chrono>

namespace sandbox {

using base::errc;
using base::error;
using base::milliseconds;

namespace {

constexpr milliseconds kPatience{2'000};          // a busy machine must not keep the stock empty: then a boot takes its full share
constexpr milliseconds kPromoteAfter{200};       // waking another costs what was just claimed milliseconds of its first work

double random_fraction() {
    auto const bytes = base::random_bytes(2);
    return (static_cast<unsigned char>(bytes[0]) * 256 + static_cast<unsigned char>(bytes[1])) / 65536.0;
}

std::int64_t stock_ms() {
    return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Node::Shelf* Node::shelf_of(std::string const& name, RuntimeKind runtime) {
    for (auto& shelf : shelves_)
        if (shelf.image.name == name && shelf.runtime->kind() == runtime) return &shelf;
    return nullptr;
}

Node::LivePtr Node::pop(Shelf& shelf) {
    for (auto* stock : {&shelf.awake, &shelf.frozen})
        while (!stock->empty()) {
            auto live = std::move(stock->front());
            stock->pop_front();
            if (live->alive() && !(live->frozen() && live->doomed()) && live->thaw()) return live;
            discard(std::move(live));
        }
    return nullptr;
}

base::Result<Taken> Node::hand_out(LivePtr live, bool warm) {
    last_claim_ = base::Clock::now();
    rest_later();
    live->hurry();
    // Before anyone can use it: a later server must never take it for an unused one.
    if (auto s = live->slot().mark_claimed(); !s) {
        discard(std::move(live));
        return s.error();
    }
    if (auto s = live->thaw(); !s) {
        discard(std::move(live));
        return s.error();
    }
    return Taken{std::move(live), warm};
}

base::Task<base::Result<Taken>> Node::take(std::string name, RuntimeKind runtime) {
    auto const self = shared_from_this();
    auto* shelf = shelf_of(name, runtime);
    if (!shelf) co_return missing(name, runtime);
    if (stopping_) co_return error(errc::unavailable, "the server stops");
    if (auto live = shelf->waiters.empty() ? pop(*shelf) : nullptr) {
        auto taken = hand_out(std::move(live), true);
        pump();
        promote();
        co_return taken;
    }
    if (shelf->waiters.size() >= kMaxWaiters) co_return error(errc::busy, "too many claims wait for a sandbox");
    if (running() + starting() >= options_.max_sandboxes && shelf->booting <= static_cast<int>(shelf->waiters.size()) &&
        !evict_for(*shelf, Start::run))
        co_return error(errc::busy, "all " + std::to_string(options_.max_sandboxes) + " sandboxes are in use");

    auto const waiter = std::make_shared<Waiter>(io_);
    shelf->waiters.push_back(waiter);
    hurry_boots();
    pump();
    // Those before us boot first, a few at a time, each within its limit.
    auto const turns = static_cast<int>(shelf->waiters.size()) / std::max(1, options_.max_boots) + 2;
    waiter->wake.expires_after(options_.boot_limit * turns);
    co_await asio::this_coro::throw_if_cancelled(false);
    if (!waiter->result) co_await waiter->wake.async_wait(base::as_tuple);
    bool const cancelled =
        (co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none;
    std::erase(shelf->waiters, waiter);
    if (waiter->result && *waiter->result && cancelled) {
        offer(*shelf, std::move(**waiter->result));
        co_return error(errc::cancelled, "take a sandbox");
    }
    if (cancelled) co_return error(errc::cancelled, "take a sandbox");
    if (!waiter->result) co_return error(errc::timed_out, "no sandbox could be started in time");
    if (!*waiter->result) co_return waiter->result->error();
    co_return hand_out(std::move(**waiter->result), false);
}

// Gives up a spare sandbox that does not serve the need. The boot goes on when it is gone.
bool Node::evict_for(Shelf const& needy, Start need) {
    for (auto& shelf : shelves_) {
        for (auto* stock : {&shelf.blank, &shelf.frozen, &shelf.awake}) {
            bool const serves = &shelf == &needy && (stock == &shelf.blank) == (need == Start::create);
            if (!serves && !stock->empty()) {
                auto live = std::move(stock->back());
                stock->pop_back();
                discard(std::move(live));
                return true;
            }
        }
    }
    return false;
}

void Node::offer(Shelf& shelf, LivePtr live) {
    if (let_go_ || !live->alive()) return;
    while (!shelf.waiters.empty()) {
        auto waiter = std::move(shelf.waiters.front());
        shelf.waiters.pop_front();
        if (waiter->result) continue;
        waiter->result = std::move(live);
        waiter->wake.cancel();
        return;
    }
    if (stopping_ && !live->freeze()) return discard(std::move(live));
    live->lay_by();
    auto& stock = in_demand() && static_cast<int>(shelf.awake.size()) < shelf.target.awake ? shelf.awake : shelf.frozen;
    stock.push_back(live);
    if (!stopping_) asio::co_spawn(io_, settle(std::move(live), &shelf), asio::detached);
}

// In stock before that, so that no claim waits for it. Frozen once it has all that its first command wants.
base::Task<void> Node::settle(LivePtr live, Shelf* shelf) {
    auto const self = shared_from_this();
    auto prepared = live->thaw();
    if (prepared) prepared = co_await live->guest().prepare();
    // One that a claim took meanwhile is no longer ours to judge.
    bool const frozen = std::count(shelf->frozen.begin(), shelf->frozen.end(), live) > 0;
    if (prepared && frozen) prepared = live->freeze();
    if (live->frozen()) co_return;               // also when it was put to rest meanwhile
    if (!prepared && std::erase(shelf->frozen, live) + std::erase(shelf->awake, live) > 0) discard(std::move(live));
}

bool Node::in_demand() const {
    return !stopping_ && last_claim_ != pool::TimePoint{} && base::Clock::now() < last_claim_ + options_.awake_for;
}

// A sandbox that runs costs the processor even when it does nothing: those kept awake for the next claim rest when none came.
void Node::rest_later() {
    rest_timer_.expires_at(last_claim_ + options_.awake_for);
    rest_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
        auto self = weak.lock();
        if (!self || ec || self->stopping_) return;
        for (auto& shelf : self->shelves_)
            for (auto& live : std::exchange(shelf.awake, {})) {
                if (!live->freeze()) self->discard(std::move(live));
                else shelf.frozen.push_front(std::move(live));
            }
    });
}

void Node::forget_stocked(Live& dead) {
    if (let_go_) return;
    auto const it = live_.find(dead.slot_id());
    if (it == live_.end()) return;
    auto const live = it->second;
    bool stocked = false;
    for (auto& shelf : shelves_)
        stocked = std::erase(shelf.awake, live) + std::erase(shelf.frozen, live) + std::erase(shelf.blank, live) > 0 || stocked;
    // A claimed one is its owner's to destroy, who wants to say why it died.
    if (stocked && dead.death().reason != Death::Reason::destroyed) {
        trouble("a spare sandbox died: " + dead.death().detail);
        discard(live);
    }
    pump();
}

void Node::promote() {
    if (std::exchange(promoting_, true)) return;    // claims that never pause must not put it off for ever
    promote_timer_.expires_after(kPromoteAfter);
    promote_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
        auto self = weak.lock();
        if (self) self->promoting_ = false;
        if (!self || ec || !self->in_demand()) return;
        for (auto& shelf : self->shelves_)
            while (static_cast<int>(shelf.awake.size()) < shelf.target.awake && !shelf.frozen.empty()) {
                auto live = std::move(shelf.frozen.front());
                shelf.frozen.pop_front();
                if (live->doomed() || !live->thaw()) {
                    self->discard(std::move(live));
                    continue;
                }
                shelf.awake.push_back(live);
                asio::co_spawn(self->io_, self->warm_up(std::move(live), &shelf), asio::detached);
            }
    });
}

base::Task<void> Node::warm_up(LivePtr live, Shelf* shelf) {
    auto const self = shared_from_this();
    auto answered = co_await live->guest().ping();
    // One that a claim took meanwhile is no longer ours to judge.
    if (!answered && std::erase(shelf->awake, live) > 0) discard(std::move(live));
}

void Node::pump() {
    if (stopping_) return;
    std::vector<pool::Shelf> shelves;
    for (auto const& s : shelves_)
        shelves.push_back({s.target, static_cast<int>(s.awake.size()), static_cast<int>(s.frozen.size()), s.booting,
                           static_cast<int>(s.waiters.size()), s.failures, s.retry_at, static_cast<int>(s.blank.size()),
                           s.making, s.bare_since});
    pool::Situation now;
    now.now = base::Clock::now();
    now.last_claim = last_claim_;
    now.filling = filling_;
    now.max_boots = options_.max_boots;
    now.room = options_.max_sandboxes - running() - starting();
    auto const step = pool::decide(shelves, now);
    for (auto index : step.boots) {
        ++shelves_[index].booting;
        asio::co_spawn(io_, boot_for(index), asio::detached);
    }
    for (auto index : step.blanks) {
        ++shelves_[index].making;
        asio::co_spawn(io_, make_blank(index), asio::detached);
    }
    if (!step.look_again) return;
    pump_timer_.expires_at(*step.look_again);
    pump_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
        if (auto self = weak.lock(); self && !ec) self->pump();
    });
}

void Node::put_off(Shelf& shelf, std::string failure, double jitter) {
    ++failed_boots_;
    ++shelf.failures;
    shelf.retry_at = base::Clock::now() + pool::back_off(shelf.failures, jitter);
    trouble(std::move(failure));
}

base::Task<void> Node::boot_for(std::size_t index) {
    auto const self = shared_from_this();
    auto& shelf = shelves_[index];
    auto live = co_await boot(shelf.image, shelf.runtime);
    --shelf.booting;
    if (let_go_) co_return;
    if (live) {
        ++boots_;
        shelf.failures = 0;
        shelf.retry_at = {};
        offer(shelf, std::move(*live));
    } else {
        put_off(shelf, live.error().message(), random_fraction());
        if (!shelf.waiters.empty()) {
            auto waiter = std::move(shelf.waiters.front());
            shelf.waiters.pop_front();
            waiter->result = live.error();
            waiter->wake.cancel();
        }
    }
    pump();
}

base::Task<base::Result<Node::LivePtr>> Node::boot(Template image, RuntimePtr runtime) {
    auto const self = shared_from_this();
    auto const began = base::Clock::now();
    auto const what = "start a sandbox of template " + image.name;
    auto const* shelf = shelf_of(image.name, runtime->kind());
    bool const needed = !shelf || !shelf->waiters.empty() || shelf->awake.size() + shelf->frozen.size() == 0;
    auto const pace = needed ? Pace::normal : Pace::background;
    auto live = co_await start(std::move(image), std::move(runtime), guest_build_, Start::run, pace);
    if (!live) co_return base::wrap(live.error(), what);
    auto const left = options_.boot_limit - std::chrono::duration_cast<milliseconds>(base::Clock::now() - began);
    auto ping = [](LivePtr one) -> base::Task<base::Result<bool>> {
        auto answered = co_await one->guest().ping();
        if (!answered) co_return answered.error();
        co_return true;
    };
    auto answered = co_await base::with_timeout(ping(*live), std::max(left, milliseconds(1)), "the guest's first answer");
    unhurried_.erase((*live)->slot_id());
    if (answered) co_return live;
    if (!let_go_) (void)co_await (*live)->destroy();
    co_return base::wrap(answered.error(), what);
}

// Up to a running sandbox that is listed; what it does next is the caller's.
base::Task<base::Result<Node::LivePtr>> Node::start(Template image, RuntimePtr runtime, std::string guest_build, Start how,
                                                       Pace pace) {
    auto const self = shared_from_this();
    Slot const slot(slots_, Slot::new_id());
    Cgroup const cgroup(tree_, slot.id);
    SlotRecord record;
    record.template_name = image.name;
    record.stamp = image.stamp;
    record.runtime = runtime->kind();
    record.runtime_build = runtime->build();
    record.guest_build = guest_build;
    record.created_ms = stock_ms();
    record.blank = how == Start::create;
    auto const guest = guest_path(guest_build);

    auto prepare = [self, slot, cgroup, record, image, guest, runtime]() -> base::Status {
        if (auto s = slot.create(record); !s) return s;
        if (auto s = runtime->describe(slot, image, guest); !s) return s;
        return cgroup.create(self->options_.default_limits);
    };
    if (pace == Pace::background) {
        unhurried_.emplace(slot.id, cgroup);
        asio::co_spawn(io_, hurry_in_time(slot.id), asio::detached);
    }
    base::Status outcome = co_await base::blocking(pool_, prepare);
    if (unhurried_.contains(slot.id)) cgroup.set(Pace::background);
    if (outcome) {
        auto sentry = co_await runtime->boot(slot, how, cgroup.directories(), options_.boot_limit);
        if (sentry) {
            record.sentry = *sentry;
            record.sentry_start = base::process_start(*sentry);
            outcome = slot.write_record(record);
        } else {
            outcome = sentry.error();
        }
    }
    if (outcome && let_go_) outcome = error(errc::unavailable, "the server stops");
    if (outcome) {
        auto watched = watch(slot, record, true);
        if (watched) co_return std::move(*watched);
        outcome = watched.error();
    }
    unhurried_.erase(slot.id);
    auto undo = [self, id = slot.id] { return self->clear(id); };
    auto undone = co_await base::blocking(pool_, undo);
    if (!undone) trouble(undone.error().message());
    co_return outcome.error();
}

void Node::hurry_boots() {
    for (auto const& [id, cgroup] : unhurried_) cgroup.set(Pace::normal);
    unhurried_.clear();
}

base::Task<void> Node::hurry_in_time(std::string id) {
    auto const self = shared_from_this();
    co_await base::sleep_for(kPatience);
    if (auto const slow = unhurried_.extract(id); slow && !let_go_) slow.mapped().set(Pace::normal);
}

void Node::start_filling() {
    filling_ = true;
    pump();
}

std::map<std::string, Sandboxes::Stock> Node::stock() const {
    std::map<std::string, Sandboxes::Stock> out;
    for (auto const& s : shelves_) {
        auto const unfrozen = std::count_if(s.frozen.begin(), s.frozen.end(), [](auto& one) { return !one->frozen(); });
        auto const name = s.runtime->kind() == RuntimeKind::gvisor ? s.image.name : s.image.name + "/" + to_string(s.runtime->kind());
        out[name] = {static_cast<int>(s.awake.size() + s.frozen.size()), s.target.ready, s.booting,
                             static_cast<int>(s.blank.size()), static_cast<int>(s.awake.size()) + static_cast<int>(unfrozen)};
    }
    return out;
}

base::Task<void> Node::wait_for_stock(int ready, milliseconds limit) {
    auto const self = shared_from_this();
    auto const end = base::Clock::now() + limit;
    for (;;) {
        std::size_t count = 0;
        for (auto const& s : shelves_) count += s.awake.size() + s.frozen.size();
        if (static_cast<int>(count) >= ready || base::Clock::now() >= end || stopping_) co_return;
        co_await base::sleep_for(milliseconds(5));
    }
}

}  // namespace sandbox
