#pragma once
#include "cgroup.hpp"
#include "live.hpp"
#include "pool.hpp"
#include "runtime.hpp"

#include <base/unique_fd.hpp>
#include <sandbox/sandboxes.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandbox {

/// What `Sandboxes` does. Shared by its handle and by the coroutines that run in the background: boots and the like.
class Node : public std::enable_shared_from_this<Node> {
  public:
    static base::Result<std::shared_ptr<Node>> open(asio::io_context&, base::BlockingPool&, Options);
    Node(asio::io_context&, base::BlockingPool&, Options);

    base::Task<base::Result<Taken>> take(std::string template_name, RuntimeKind runtime);
    base::Task<base::Result<Restored>> restore(RestoreRequest request);
    base::Result<ImageFacts> image_facts(std::string const& template_name, RuntimeKind runtime) const;
    base::Task<base::Result<std::shared_ptr<Sandbox>>> adopt(std::string slot_id);
    void keep_guests(std::set<std::string> builds) { options_.kept_guests.merge(builds); }
    base::Task<SweepReport> sweep();
    void start_filling();
    base::Task<void> stop(bool destroy_all);
    base::Task<void> stop_without_stock();
    base::Task<void> wait_for_stock(int ready, base::milliseconds limit);
    std::map<std::string, Sandboxes::Stock> stock() const;
    void let_go();                               ///< the handle goes away: sandboxes run on, DIR is free for the next server

    int running() const { return static_cast<int>(live_.size()); }
    std::uint64_t boots() const { return boots_; }
    std::uint64_t failed_boots() const { return failed_boots_; }
    std::string const& last_boot_error() const { return last_boot_error_; }

  private:
    using LivePtr = std::shared_ptr<Live>;
    struct Waiter {
        explicit Waiter(asio::io_context& io) : wake(io, asio::steady_timer::time_point::max()) {}
        asio::steady_timer wake;
        std::optional<base::Result<LivePtr>> result;
    };
    using RuntimePtr = std::shared_ptr<Runtime const>;
    struct Shelf {
        Template image;
        RuntimePtr runtime;
        PoolTarget target;
        std::deque<LivePtr> awake, frozen;
        std::deque<std::shared_ptr<Waiter>> waiters;
        std::deque<LivePtr> blank;               // frozen
        int booting = 0, making = 0, failures = 0;
        pool::TimePoint retry_at{}, bare_since{};
    };
    static constexpr std::size_t kMaxWaiters = 256;

    void trouble(std::string what);
    void put_off(Shelf&, std::string failure, double jitter);    ///< its next boot, after one that failed
    void pump();
    base::Task<void> boot_for(std::size_t shelf);
    base::Task<base::Result<LivePtr>> boot(Template image, RuntimePtr runtime);
    base::Task<base::Result<LivePtr>> start(Template image, RuntimePtr runtime, std::string guest_build, Start how, Pace pace);
    void hurry_boots();                          ///< somebody waits for what boots
    base::Task<void> hurry_in_time(std::string slot);
    base::Task<void> make_blank(std::size_t shelf);
    LivePtr pop_blank(Shelf&);
    void next_restore();
    base::Task<base::Result<Restored>> restore_one(RestoreRequest request);
    base::Task<base::Result<LivePtr>> blank_for(Shelf*, std::string guest_build, bool* warm);
    std::string guest_path(std::string const& build) const { return options_.directory + "/guest-" + build.substr(0, 16); }
    int starting() const;                        ///< sandboxes on their way that are not listed yet
    base::Result<LivePtr> watch(Slot slot, SlotRecord record, bool made_by_us = false);
    void offer(Shelf&, LivePtr);
    bool evict_for(Shelf const& needy, Start need);
    base::Task<void> settle(LivePtr live, Shelf* shelf);
    bool in_demand() const;                      ///< a claim came lately
    void rest_later();
    void promote();
    base::Task<void> warm_up(LivePtr live, Shelf* shelf);
    LivePtr pop(Shelf&);
    void forget_stocked(Live&);
    Shelf* shelf_of(std::string const& template_name, RuntimeKind runtime);
    base::Status find_runtimes();
    void make_shelves();
    /// Why there are no sandboxes of that kind here.
    base::Error missing(std::string const& template_name, RuntimeKind runtime) const;
    RuntimePtr const& runtime_of(RuntimeKind kind) const { return kind == RuntimeKind::gvisor ? gvisor_ : native_; }
    base::Result<Taken> hand_out(LivePtr, bool warm);
    void discard(LivePtr);
    base::Task<void> wind_up();                  ///< no more is begun; until what was has come to its end
    base::Task<void> destroy_these(std::vector<LivePtr>);
    void vacate() const;                         ///< what holds sandboxes goes, where there are none
    bool reusable(SlotRecord const&, Slot const&);
    base::Task<void> destroy_one(LivePtr);
    base::Status clear(std::string const& id) const;         ///< dismantles by name; blocks

    asio::io_context& io_;
    base::BlockingPool& pool_;
    Options options_;
    std::string slots_;                          // DIR/slots
    base::UniqueFd lock_;
    RuntimePtr gvisor_, native_;                 // null: not here, and why
    base::Status no_gvisor_, no_native_;
    CgroupTree tree_;
    std::string guest_binary_, guest_build_;
    std::shared_ptr<CpuClass const> cpu_;
    int restoring_ = 0, unlisted_blanks_ = 0;
    std::deque<std::shared_ptr<Waiter>> restore_queue_;
    std::vector<Shelf> shelves_;
    std::map<std::string, LivePtr> live_;
    std::map<std::string, Cgroup> unhurried_;    // of those that boot for the stock, by slot
    asio::steady_timer pump_timer_, promote_timer_, rest_timer_;
    bool promoting_ = false;
    bool filling_ = false, stopping_ = false, let_go_ = false;
    pool::TimePoint last_claim_{};
    std::uint64_t boots_ = 0, failed_boots_ = 0;
    std::string last_boot_error_;
};

}  // namespace sandbox
