#pragma once
#include "cgroup.hpp"
#include "runtime.hpp"
#include "slot.hpp"

#include <base/blocking.hpp>
#include <base/unique_fd.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sandbox/channel.hpp>
#include <sandbox/image_store.hpp>
#include <sandbox/sandbox.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace sandbox {

/// A running sandbox. Its death is learned from the pidfd of its runtime's process, from the cgroup's memory event, or from a guest
/// that breaks the protocol; the first cause stands.
/// Lifetime: shared by the node, which lists it until it is destroyed, and by those who claimed it.
class Live final : public Sandbox, public std::enable_shared_from_this<Live> {
  public:
    struct Parts {
        Slot slot;
        SlotRecord record;
        Cgroup cgroup;
        Limits limits;
        bool limits_stand = false;               ///< its cgroup has them: not told of one that an earlier server made
        std::shared_ptr<Runtime const> runtime;
        std::shared_ptr<CpuClass const> cpu;
    };
    /// Starts watching. errc::not_found when the recorded process is gone.
    static base::Result<std::shared_ptr<Live>> attach(asio::io_context&, base::BlockingPool&, Parts);
    Live(asio::io_context&, base::BlockingPool&, Parts, std::shared_ptr<Channel>, base::UniqueFd pidfd);

    std::string const& slot_id() const override { return parts_.slot.id; }
    std::string const& template_name() const override { return parts_.record.template_name; }
    RuntimeKind runtime() const override { return parts_.record.runtime; }
    Guest& guest() override { return guest_; }
    bool alive() const override { return !death_; }
    Death const& death() const override;
    void on_death(std::function<void(Death const&)> handler) override;
    bool frozen() const override { return frozen_; }
    base::Status freeze() override;
    base::Status thaw() override;
    base::Status attach_volume(std::string const& host_directory) override;
    base::Status set_limits(Limits const&) override;
    base::Result<Usage> usage() const override;
    ImageFacts image_facts() const override;
    base::Task<base::Result<Checkpointed>> checkpoint(std::string directory, base::milliseconds limit, Keep keep) override;
    base::Task<base::Status> destroy() override;

    Slot const& slot() const { return parts_.slot; }
    /// For the node, at the claim: what was in stock gets its share of the processor.
    void hurry() const { parts_.cgroup.set(Pace::normal); }
    void lay_by() const { parts_.cgroup.set(Pace::background); }
    /// A frozen process that was sent SIGKILL dies when it is thawed: told by the kernel's list of pending signals.
    bool doomed() const;
    SlotRecord const& record() const { return parts_.record; }
    /// For the node, into a blank slot: loads the image and has the guest renew itself. On failure the slot is of no use.
    base::Task<base::Status> restore(OpenImage image, Renewal renewal, base::milliseconds limit, Phases* phases);
    /// For the node, after a server was killed in the middle of a checkpoint: what it paused goes on.
    base::Task<base::Status> unpause();
    /// For the node: called at the death, before the owner's handler, and once nothing is left of the sandbox.
    void on_node_event(std::function<void(Live&)> died, std::function<void(Live&)> gone);
    /// The server stops: closes the channel and the watches, leaves the sandbox running.
    void let_go();
    bool gone() const { return gone_; }
    bool saving() const { return saving_; }

  private:
    void watch();
    void watch_process();
    void watch_memory();
    base::Status begin_with(pid_t process);      // from a restore: it may be another than so far
    void ended();
    void die(Death death);
    void kill_now();
    static base::Task<void> take_apart(std::shared_ptr<Live> self);
    static base::Task<base::Result<Checkpointed>> save(std::shared_ptr<Live> self, std::string directory,
                                                       base::milliseconds limit, Keep keep);
    base::Task<void> go_on();                    // after a save: lifts the pause
    base::Task<base::Status> save_paused(std::string directory, base::milliseconds limit, Phases* phases);
    /// When the runtime hung up: how it died is known a moment later, and says more. Until then, or for a second.
    base::Task<void> learn_of_death(base::Error const& failed);

    asio::io_context& io_;
    base::BlockingPool& pool_;
    Parts parts_;
    std::shared_ptr<Channel> channel_;
    Guest guest_;
    asio::posix::stream_descriptor pidfd_, oom_event_;
    asio::steady_timer oom_check_;
    asio::steady_timer finished_;                // never expires; cancelled when a clean-up ended
    std::function<void(Death const&)> handler_;
    std::function<void(Live&)> node_died_, node_gone_;
    std::optional<Death> death_;
    bool frozen_ = false, attached_ = false, let_go_ = false;
    bool taking_apart_ = false, gone_ = false, saving_ = false;
    base::Status taken_apart_;
};

}  // namespace sandbox
