// The node: preparation, hand-over between servers, and the end. Stock and claims are in stock.cpp.
#include "gvisor/driver.hpp"
#include "mounts.hpp"
#include "native/driver.hpp"
#include "node.hpp"
#include "template_root.hpp"

#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <future>

namespace sandbox {

using base::errc;
using base::error;

namespace {

// The control socket's path below DIR/runsc has to fit a sockaddr_un.
constexpr std::size_t kMaxDirectory = 70;
constexpr std::size_t kMaxGuestBytes = 64 << 20;

class SandboxesHandle final : public Sandboxes {
  public:
    explicit SandboxesHandle(std::shared_ptr<Node> node) : node_(std::move(node)) {}
    ~SandboxesHandle() override { node_->let_go(); }
    base::Task<base::Result<Taken>> take(std::string name, RuntimeKind runtime) override {
        return node_->take(std::move(name), runtime);
    }
    base::Task<base::Result<Restored>> restore(RestoreRequest request) override {
        return node_->restore(std::move(request));
    }
    base::Result<ImageFacts> image_facts(std::string const& name, RuntimeKind runtime) const override {
        return node_->image_facts(name, runtime);
    }
    base::Task<base::Result<std::shared_ptr<Sandbox>>> adopt(std::string id) override {
        return node_->adopt(std::move(id));
    }
    void keep_guests(std::set<std::string> builds) override { node_->keep_guests(std::move(builds)); }
    base::Task<SweepReport> sweep() override { return node_->sweep(); }
    void start_filling() override { node_->start_filling(); }
    base::Task<void> stop(bool destroy_all) override { return node_->stop(destroy_all); }
    base::Task<void> stop_without_stock() override { return node_->stop_without_stock(); }
    std::map<std::string, Stock> stock() const override { return node_->stock(); }
    int running() const override { return node_->running(); }
    std::uint64_t boots() const override { return node_->boots(); }
    std::uint64_t failed_boots() const override { return node_->failed_boots(); }
    std::string last_boot_error() const override { return node_->last_boot_error(); }
    base::Task<void> wait_for_stock(int ready, base::milliseconds limit) override {
        return node_->wait_for_stock(ready, limit);
    }

  private:
    std::shared_ptr<Node> node_;
};

// A copy of our own, by content: replacing the installed program does not change sandboxes that run.
base::Result<std::string> keep_guest(std::string const& directory, std::string const& bytes, std::string const& hash) {
    auto const kept = directory + "/guest-" + hash.substr(0, 16);
    struct stat st{};
    if (::stat(kept.c_str(), &st) == 0 && static_cast<std::size_t>(st.st_size) == bytes.size()) return kept;
    if (auto s = base::replace_file(kept, bytes, 0555); !s) return s.error();
    if (::chmod(kept.c_str(), 0555) != 0) return base::errno_error("chmod " + kept);
    return kept;
}

}  // namespace

base::Result<std::unique_ptr<Sandboxes>> Sandboxes::open(asio::io_context& io, base::BlockingPool& pool,
                                                         Options options) {
    auto node = Node::open(io, pool, std::move(options));
    if (!node) return node.error();
    return std::unique_ptr<Sandboxes>(std::make_unique<SandboxesHandle>(std::move(*node)));
}

Node::Node(asio::io_context& io, base::BlockingPool& pool, Options options)
    : io_(io), pool_(pool), options_(std::move(options)), slots_(options_.directory + "/slots"), pump_timer_(io),
      promote_timer_(io), rest_timer_(io) {}

base::Result<std::shared_ptr<Node>> Node::open(asio::io_context& io, base::BlockingPool& pool, Options options) {
    // Mount points are compared as the kernel writes them.
    std::error_code ec;
    std::filesystem::create_directories(options.directory, ec);
    auto const real = std::filesystem::canonical(options.directory, ec);
    if (ec) return error(errc::invalid, "sandbox directory " + options.directory + ": " + ec.message());
    options.directory = real;
    if (options.directory.size() > kMaxDirectory)
        return error(errc::invalid, "the sandbox directory's path is longer than " + std::to_string(kMaxDirectory) +
                                        " bytes: " + options.directory);
    if (::geteuid() != 0) return error(errc::unavailable, "sandboxes need root");

    auto node = std::make_shared<Node>(io, pool, std::move(options));
    auto const& dir = node->options_.directory;
    if (::chmod(dir.c_str(), 0700) != 0) return base::errno_error("chmod " + dir);
    auto lock = base::sys::open(dir + "/lock", O_RDWR | O_CREAT, 0600);
    if (!lock) return lock.error();
    if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) return error(errc::busy, "another berth uses " + dir);
    node->lock_ = std::move(*lock);

    // Most of it is waiting for another program to say its version: the rest of the start goes on meanwhile.
    auto finding = std::async(std::launch::async, [&node] { return node->find_runtimes(); });
    auto bytes = base::read_file(node->options_.guest_binary, kMaxGuestBytes);
    if (!bytes) return error(errc::unavailable, "the guest program is missing: " + bytes.error().message());
    node->guest_build_ = base::sha256_hex(*bytes);
    auto kept = keep_guest(dir, *bytes, node->guest_build_);
    if (!kept) return kept.error();
    node->guest_binary_ = std::move(*kept);

    if (auto s = base::sys::mkdir(node->slots_, 0700); !s) return s.error();
    if (auto s = mounts::make_shared(node->slots_); !s) return base::wrap(s.error(), "share the slots' mounts");
    auto tree = CgroupTree::prepare(dir);
    if (!tree) return base::wrap(tree.error(), "cgroups");
    node->tree_ = std::move(*tree);

    auto cpu = CpuClass::of_this_machine();
    if (!cpu) return cpu.error();
    node->cpu_ = std::make_shared<CpuClass const>(std::move(*cpu));

    base::Status ready;
    for (auto const& [name, image] : node->options_.templates)
        if (ready) ready = prepare_root(image);
    if (auto found = finding.get(); ready) ready = found;
    if (!ready) {
        node->vacate();
        return ready.error();
    }
    node->make_shelves();
    return node;
}

base::Status Node::find_runtimes() {
    auto gvisor = gvisor::open_runtime(options_.directory);
    if (gvisor) gvisor_ = std::move(*gvisor);
    else no_gvisor_ = gvisor.error();
    if (options_.native.allowed) {
        auto native = native::open_runtime(options_.directory, options_.native.program);
        if (native) native_ = std::move(*native);
        else no_native_ = native.error();
    } else {
        no_native_ = error(errc::denied, "native sandboxes are not allowed on this server (native.allow in its configuration)");
    }
    // What gVisor lacks is said by the claims of those who ask for it, if there is another to serve the rest.
    return gvisor_ || native_ ? base::Status() : no_gvisor_;
}

void Node::make_shelves() {
    for (auto const& [name, image] : options_.templates)
        for (auto const& runtime : {gvisor_, native_}) {
            if (!runtime) continue;
            Shelf shelf;
            shelf.image = image;
            shelf.image.name = name;
            shelf.runtime = runtime;
            auto const& targets = runtime == gvisor_ ? options_.pool : options_.native.pool;
            auto const target = targets.find(name);
            shelf.target = target == targets.end() ? PoolTarget{0, 0, 0} : target->second;
            if (!runtime->can_keep_memory()) shelf.target.blank = 0;
            shelves_.push_back(std::move(shelf));
        }
}

base::Error Node::missing(std::string const& template_name, RuntimeKind runtime) const {
    if (!runtime_of(runtime)) return (runtime == RuntimeKind::gvisor ? no_gvisor_ : no_native_).error();
    std::string names;
    for (auto const& [name, image] : options_.templates) names += (names.empty() ? "" : ", ") + name;
    return error(errc::not_found, "no template is named " + template_name + "; there are " + (names.empty() ? "none" : names));
}

base::Result<Node::LivePtr> Node::watch(Slot slot, SlotRecord record, bool made_by_us) {
    auto const& runtime = runtime_of(record.runtime);
    if (!runtime) return error(errc::not_found, "sandbox " + slot.id + " is of a runtime that is not here");
    Live::Parts parts{slot,       std::move(record), Cgroup(tree_, slot.id), options_.default_limits,
                      made_by_us, runtime,           cpu_};
    auto live = Live::attach(io_, pool_, std::move(parts));
    if (!live) return live.error();
    live_[slot.id] = *live;
    (*live)->on_node_event(
        [weak = weak_from_this()](Live& one) {
            if (auto self = weak.lock()) self->forget_stocked(one);
        },
        [weak = weak_from_this()](Live& one) {
            if (auto self = weak.lock()) {
                self->live_.erase(one.slot_id());
                self->pump();
            }
        });
    return live;
}

base::Status Node::clear(std::string const& id) const {
    Slot const slot(slots_, id);
    auto gone = dismantle(slot, Cgroup(tree_, id));
    if (!gone) return gone;
    // By its name alone it could have been of either.
    for (auto const& runtime : {gvisor_, native_})
        if (runtime) runtime->forget(id);
    return base::remove_tree(slot.directory);
}

void Node::trouble(std::string what) {
    last_boot_error_ = std::move(what);
    if (options_.on_trouble && !let_go_) options_.on_trouble(last_boot_error_);
}

base::Task<void> Node::destroy_one(LivePtr live) {
    auto done = co_await live->destroy();
    if (!done) trouble(done.error().message());
}

void Node::discard(LivePtr live) {
    auto work = [](std::shared_ptr<Node> self, LivePtr one) -> base::Task<void> {
        co_await self->destroy_one(std::move(one));
    };
    asio::co_spawn(io_, work(shared_from_this(), std::move(live)), asio::detached);
}

base::Task<base::Result<std::shared_ptr<Sandbox>>> Node::adopt(std::string slot_id) {
    auto const self = shared_from_this();
    auto const missing = [&](std::string const& why) { return error(errc::not_found, "sandbox " + slot_id + ": " + why); };
    if (!Slot::valid_id(slot_id)) co_return missing("no such sandbox");
    if (auto it = live_.find(slot_id); it != live_.end() && it->second->alive())
        co_return std::shared_ptr<Sandbox>(it->second);
    Slot const slot(slots_, slot_id);
    auto record = slot.read_record();
    if (!record) co_return missing("no such sandbox");
    // One that a restore was under way into has no guest to answer.
    auto live = record->blank ? base::Result<LivePtr>(error(errc::not_found, "")) : watch(slot, *record);
    if (live) {
        // Whether it was frozen is the kernel's knowledge, not ours.
        if (auto s = Cgroup(tree_, slot_id).freezer().thaw(); !s) co_return s.error();
        if (slot.paused()) (void)co_await (*live)->unpause();
        auto answered = co_await (*live)->guest().ping();
        if (answered) co_return std::shared_ptr<Sandbox>(*live);
        (void)co_await (*live)->destroy();
        co_return missing("it does not answer: " + answered.error().message());
    }
    auto work = [self, slot_id] { return self->clear(slot_id); };
    auto cleared = co_await base::blocking(pool_, std::move(work));
    co_return missing(cleared ? "it is no longer running" : cleared.error().message());
}

bool Node::reusable(SlotRecord const& record, Slot const& slot) {
    auto const* shelf = shelf_of(record.template_name, record.runtime);
    if (!shelf || record.stamp != shelf->image.stamp || record.runtime_build != shelf->runtime->build() ||
        record.guest_build != guest_build_ || slot.claimed())
        return false;
    auto points = mounts::below(slot.volume_mount());
    if (!points || !points->empty()) return false;
    if (record.blank) return static_cast<int>(shelf->blank.size()) < shelf->target.blank;
    return static_cast<int>(shelf->awake.size() + shelf->frozen.size()) < shelf->target.ready;
}

base::Task<SweepReport> Node::sweep() {
    auto const self = shared_from_this();
    SweepReport report;
    std::set<std::string> slots, traces;
    std::error_code ec;
    for (std::filesystem::directory_iterator it(slots_, ec), end; !ec && it != end; it.increment(ec))
        slots.insert(it->path().filename());
    for (auto const& runtime : {gvisor_, native_})
        if (runtime)
            for (auto const& id : runtime->remembered()) traces.insert(id);
    for (auto const& id : tree_.children()) traces.insert(id);

    std::set<std::string> guests{std::filesystem::path(guest_binary_).filename()};
    for (auto const& build : options_.kept_guests) guests.insert(std::filesystem::path(guest_path(build)).filename());
    for (auto const& id : slots) {
        if (live_.contains(id)) continue;
        Slot const slot(slots_, id);
        auto record = slot.read_record();
        bool const fits = record && Slot::valid_id(id) && reusable(*record, slot);
        if (fits && record->blank) {
            if (auto live = watch(slot, *record); live && !(*live)->doomed() && (*live)->freeze()) {
                shelf_of(record->template_name, record->runtime)->blank.push_back(*live);
                ++report.adopted_to_pool;
                continue;
            }
            live_.erase(id);                     // and taken apart below, by its name
        } else if (fits) {
            auto adopted = co_await adopt(id);
            if (adopted) {
                auto live = live_.at(id);
                offer(*shelf_of(record->template_name, record->runtime), std::move(live));
                ++report.adopted_to_pool;
                continue;
            }
        }
        if (!Slot::valid_id(id)) {               // not a slot: never a process of ours
            (void)base::remove_tree(slot.directory);
            ++report.leftovers_removed;
            continue;
        }
        auto work = [self, id] { return self->clear(id); };
        auto cleared = co_await base::blocking(pool_, std::move(work));
        if (cleared) ++report.destroyed;
        else trouble(cleared.error().message());
    }
    for (auto const& id : traces) {
        if (!Slot::valid_id(id) || live_.contains(id) || slots.contains(id)) continue;
        auto work = [self, id] { return self->clear(id); };
        auto cleared = co_await base::blocking(pool_, std::move(work));
        if (cleared) ++report.leftovers_removed;
    }
    // Copies of guest programs that no sandbox was started from.
    for (auto const& [id, live] : live_)
        if (auto record = live->slot().read_record()) guests.insert("guest-" + record->guest_build.substr(0, 16));
    for (std::filesystem::directory_iterator it(options_.directory, ec), end; !ec && it != end; it.increment(ec)) {
        std::string const name = it->path().filename();
        if (name.starts_with("guest-") && !guests.contains(name)) (void)base::sys::unlink(it->path());
    }
    co_return report;
}

base::Task<void> Node::wind_up() {
    filling_ = false;
    stopping_ = true;
    pump_timer_.cancel();
    promote_timer_.cancel();
    rest_timer_.cancel();
    hurry_boots();
    for (auto& shelf : shelves_)
        for (auto& waiter : std::exchange(shelf.waiters, {})) {
            waiter->result = error(errc::unavailable, "the server stops");
            waiter->wake.cancel();
        }
    for (auto const& turn : restore_queue_) turn->wake.cancel();
    // Boots end by themselves within their limit: into the stock, or dismantled.
    auto const end = base::Clock::now() + options_.boot_limit + std::chrono::seconds(15);
    auto const booting = [&] {
        int n = 0;
        for (auto const& shelf : shelves_) n += shelf.booting + shelf.making;
        for (auto const& [id, live] : live_) n += live->saving();
        return n + restoring_;
    };
    while (booting() > 0 && base::Clock::now() < end) co_await base::sleep_for(base::milliseconds(10));
}

// All at once: the blocking pool's size bounds how many are taken apart together. With the last sandbox goes what held them.
base::Task<void> Node::destroy_these(std::vector<LivePtr> these) {
    for (auto const& live : these) discard(live);
    for (auto const& live : these) {
        auto done = co_await live->destroy();
        if (!done) trouble(done.error().message());
    }
    if (live_.empty()) vacate();
}

void Node::vacate() const {
    (void)base::sys::umount(slots_, 0);
    tree_.remove();
}

base::Task<void> Node::stop_without_stock() {
    auto const self = shared_from_this();
    co_await wind_up();
    std::vector<LivePtr> stocked;
    for (auto const& shelf : shelves_)
        for (auto const* stock : {&shelf.awake, &shelf.frozen, &shelf.blank})
            stocked.insert(stocked.end(), stock->begin(), stock->end());
    co_await destroy_these(std::move(stocked));
}

base::Task<void> Node::stop(bool destroy_all) {
    auto const self = shared_from_this();
    co_await wind_up();
    if (!destroy_all) {
        for (auto& shelf : shelves_)
            for (auto* stock : {&shelf.awake, &shelf.frozen})
                for (auto& live : *stock) (void)live->freeze();
        co_return;
    }
    std::vector<LivePtr> all;
    for (auto const& [id, live] : live_) all.push_back(live);
    co_await destroy_these(std::move(all));
}

void Node::let_go() {
    stopping_ = let_go_ = true;
    filling_ = false;
    pump_timer_.cancel();
    promote_timer_.cancel();
    rest_timer_.cancel();
    for (auto const& turn : restore_queue_) turn->wake.cancel();
    for (auto& [id, live] : live_) live->let_go();
    live_.clear();
    for (auto& shelf : shelves_) {
        shelf.awake.clear();
        shelf.frozen.clear();
        shelf.blank.clear();
        for (auto& waiter : std::exchange(shelf.waiters, {})) {
            waiter->result = error(errc::unavailable, "the server stops");
            waiter->wake.cancel();
        }
    }
    lock_.reset();
}

}  // namespace sandbox
