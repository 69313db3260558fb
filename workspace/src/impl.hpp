#pragma once
#include "workspace.hpp"

#include <unordered_map>

namespace workspace {

struct Workspaces::Impl {
    Impl(asio::io_context& io_, base::BlockingPool& pool_, config::Settings const& config_,
         registry::Registry& records_, sandbox::Sandboxes& sandboxes_, VolumeStore& volumes_,
         sandbox::EgressProxy& egress_)
        : io(io_),
          pool(pool_),
          config(config_),
          records(records_),
          sandboxes(sandboxes_),
          volumes(volumes_),
          egress(egress_),
          idle_timer(io_),
          creating(io_.get_executor()),
          making_room(io_.get_executor()) {}

    using Ptr = std::shared_ptr<Workspace>;

    Result<Ptr> find(std::string const& owner, std::string const& id) const;
    Ptr find_by(std::string const& owner, std::string registry::WorkspaceRecord::*field,
                std::string const& value) const;
    View view(Workspace const&) const;
    void tell(Workspace const&, bool list = false) const;  ///< its state changed; `list`: it came or went

    // starting.cpp: up from the files, down to them. As everything that changes a workspace's sandbox: the
    // caller holds its turn.
    struct Caller {  ///< of a request that runs to its end without him
        bool gone = false;
        std::function<void()> left;  ///< called when he goes: ends what takes long
    };
    struct First {  ///< what a new workspace is furnished with, before anyone can find it
        CreateRequest const& request;
        Caller& caller;
        std::string& note;
        bool& named;  ///< after a failure: a record may name its files, which have to stay
    };
    /// From `starting` to `running` or back to `stopped`.
    Task<Status> start(Ptr w, sandbox::Taken taken, std::shared_ptr<Volume> volume, First const* first);
    Task<Result<sandbox::Taken>> take(std::string template_name, sandbox::RuntimeKind runtime,
                                      std::uint64_t memory);  ///< making room when there is none
    Task<Status> bring_up(Ptr w, Arrival* arrival);           ///< thaws, wakes or starts
    /// For those who have just got the turn: nobody is at work, so a state on the way to another was left by an exception.
    void put_right(Workspace& w) const;
    Task<Status> start_from_files(Ptr w);
    Task<Status> put_to_rest(Ptr w, std::string why);  ///< ends sandbox or image, keeps the files
    Task<Status> destroy(Ptr w);
    /// Takes back the record of a new workspace, behind its insertion: what was asked of a registry that did not answer in
    /// time still happens. False when that is not certain; then the files that it names have to stay.
    Task<bool> unrecord(std::string id);
    Status equip(Ptr const& w);  ///< death handler and egress for w->sandbox
    /// Keeps what commands wrote last; `ending`: they are told as ended.
    Task<void> keep_tails(Ptr w, bool ending);
    std::vector<registry::ProcessRecord> lose_processes(Ptr const& w, std::string reason);
    /// Those that went with an image; what was kept of their output stays.
    Task<void> end_processes(Ptr w, std::string reason);
    Task<void> bury(Ptr w, std::shared_ptr<sandbox::Sandbox> dead);
    Task<void> bury_held(Ptr w);  ///< w->sandbox is dead

    // sleeping.cpp, waking.cpp: memory to disk and back
    Task<Result<Slept>> hibernate(Ptr w, HibernateRequest request);
    Task<Status> checkpoint(Ptr w, Slept* slept, base::milliseconds limit);
    Task<void> put_away(Ptr w);
    Task<void> see_off(Ptr w);  ///< until nothing of a sandbox that sleeps holds the files
    /// An error means that the image is as good as before. With `unusable` it can never be loaded, and the
    /// state is `stopped`.
    Task<Status> wake_image(Ptr w, Arrival* arrival, std::string* unusable);
    void forget_image(registry::ImageRecord image);  ///< removes its bytes, in the background

    // capture.cpp: files and memory at one instant, without ending anything
    struct Captured;
    enum class Lasts { a_moment, on };  ///< the image: until it was loaded, or until someone deletes it
    Task<Result<Captured>> capture(Ptr w, std::string image_id, Lasts lasts);
    Task<Status> capture_running(Ptr w, std::string image_id, Lasts lasts, Captured& out);
    Task<void> forget(std::string workspace, Captured captured);

    // snapshots.cpp
    Task<Result<Snapped>> snapshot(Ptr w, std::string name);
    Task<Status> delete_snapshot(Ptr w, registry::SnapshotRecord record);
    Result<registry::SnapshotRecord> find_snapshot(Workspace const& w, std::string const& wanted) const;
    Status room_for_snapshot(Workspace const& w, std::uint64_t bytes) const;

    // restoring.cpp
    struct Raised {
        std::shared_ptr<sandbox::Sandbox> sandbox;
        bool memory = false;
        std::string why;
        std::uint64_t memory_bytes = 0;
    };
    enum class Raise { restore, fork };
    Task<Result<Raised>> raise(Ptr w, std::string volume, std::uint64_t generation, sandbox::OpenImage const* image,
                               Raise how);
    Task<Result<RestoredTo>> restore(Ptr w, registry::SnapshotRecord snapshot, std::optional<std::string> keep_as);
    Task<Status> become(Ptr w, registry::WorkspaceRecord next, Raised raised);
    Task<Result<sandbox::OpenImage>> open_image(Workspace const& w, sandbox::ImageRef ref);
    /// `origins`: what a command was called where it comes from, if otherwise.
    Task<void> record_processes(Ptr w, std::map<std::string, std::string> origins);

    // forking.cpp
    Task<Result<Forked>> fork_of(Ptr w, std::size_t count, std::vector<std::string> names);
    Task<Result<std::vector<Ptr>>> reserve_forks(Ptr w, std::size_t count, std::vector<std::string> names);
    Task<Result<Forked>> fork(Ptr w, std::vector<Ptr> children);
    Task<void> raise_fork(Ptr child, sandbox::OpenImage image, Status* outcome,
                          std::map<std::string, std::string>* renamed);
    Task<std::map<std::string, std::string>> rename_processes(Ptr w);

    // create.cpp
    Task<Result<Created>> create(std::string owner, CreateRequest request, std::shared_ptr<Caller> caller);
    Result<Settings> settle(CreateRequest const&) const;  ///< defaults filled in, maxima checked
    Status permitted_limits(Settings const&) const;
    Status permitted_hosts(std::vector<std::string> const& allow) const;
    Task<Status> furnish(Ptr w, CreateRequest const& request, Caller& caller, std::string& note);

    // updating.cpp
    Task<Status> update(Ptr w, UpdateRequest request);
    Result<Settings> changed_settings(Workspace const& w, UpdateRequest const& request) const;
    /// What runs takes `w`'s settings, where they differ from those that it has.
    Task<Status> take_settings(Ptr w, Settings const& has);

    // recovery.cpp
    Task<RecoveryReport> recover();
    Task<void> recover_one(Ptr w, RecoveryReport* report);
    Task<Status> take_back(Ptr w);
    Task<void> forget_stray_records(std::vector<registry::ImageRecord> all);
    Task<int> forget_stray_images(std::vector<registry::ImageRecord> known);
    Task<void> relearn_processes(Ptr w);

    // idle.cpp
    Task<void> idle_loop();
    Task<void> idle_look(Ptr w);
    Task<void> rest(Ptr w, int* busy);  ///< one of those that `busy` counts
    Task<void> delete_again(Ptr w);
    Task<void> let_files_rest(Ptr w);  ///< unmounts what nobody has used since its workspace went to sleep
    IdleFacts idle_facts(Workspace const&) const;

    // leaving.cpp
    Task<void> leave(std::vector<Ptr>* all, base::Clock::time_point end);  ///< takes from `all` until none is left
    Task<void> leave_one(Ptr w, base::Clock::time_point end);
    Task<void> let_rest(Ptr w);

    // room.cpp
    Task<Status> make_room(std::uint64_t bytes, bool slot);
    /// Every slot was taken; true when it is worth asking again. Its memory is counted as arriving.
    Task<bool> wait_for_slot(int tries);
    /// Memory of what is on its way up, which no sandbox shows yet: counted from the moment there is room for it.
    class Arriving {
      public:
        Arriving(Impl& all, std::uint64_t bytes) : sum_(all.arriving), bytes_(bytes) { *sum_ += bytes_; }
        Arriving(Arriving const&) = delete;
        Arriving& operator=(Arriving const&) = delete;
        ~Arriving() { *sum_ -= bytes_; }

      private:
        std::shared_ptr<std::uint64_t> sum_;
        std::uint64_t bytes_;
    };
    /// Keeps a little free, in the background, so that who comes next need not wait until somebody sleeps; and looks
    /// after the machine when those at work grow. Cheap when there is nothing to do.
    void keep_spare();
    Task<bool> make_way(Ptr idle, bool until_gone);
    Ptr longest_idle(base::milliseconds quiet) const;  ///< not used for that long
    std::uint64_t spare_memory() const;
    std::uint64_t memory_in_use() const;
    std::uint64_t memory_ceiling() const;
    std::uint64_t memory_left();  ///< of the machine

    asio::io_context& io;
    base::BlockingPool& pool;
    config::Settings const& config;
    registry::Registry& records;
    sandbox::Sandboxes& sandboxes;
    VolumeStore& volumes;
    sandbox::EgressProxy& egress;
    sandbox::ImageStore* images = nullptr;
    std::unordered_map<std::string, Ptr> table;
    std::unordered_map<std::string, registry::ProcessRecord>
        processes;  ///< started by this server, newest state known
    std::unordered_map<std::string, std::vector<registry::SnapshotRecord>> snapshots;  ///< by workspace, oldest first
    std::function<void(Change const&)> changed;
    asio::steady_timer idle_timer;
    Turn creating;  ///< for requests that name something which must be unique
    Turn making_room;
    bool keeping_spare = false;
    base::Clock::time_point memory_seen{};
    std::uint64_t memory_seen_left = 0;
    std::shared_ptr<std::uint64_t> arriving =
        std::make_shared<std::uint64_t>(0);  ///< shared with work that the server ends in the middle of
    LifeCounts counts;
    int resting = 0;     ///< workspaces that the idle policy puts to sleep or stops right now
    int freezing = 0;    ///< likewise freezes
    int background = 0;  ///< clean-ups that go on by themselves
    bool stopping = false;
};

/// The mount of the files of a workspace that sleeps, after their last use.
inline constexpr base::milliseconds kMountKept{30'000};
/// What a start from the files alone lacks, for people.
inline constexpr char const* kAllMemory = "memory and everything that ran";
/// How long writing a memory image may take.
inline constexpr base::milliseconds kSaveLimit{120'000};
/// Memory that a booted sandbox takes at first.
inline constexpr std::uint64_t kNewSandbox = 32ull << 20;

inline double elapsed_ms(base::Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(base::Clock::now() - since).count();
}
std::int64_t now_ms();
bool plain_name(std::string const& name);
base::Error unknown(std::string const& id);
sandbox::GuestSetup setup_for(Workspace const&);

}  // namespace workspace
