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
          creating(io_.get_executor()) {}

    using Ptr = std::shared_ptr<Workspace>;

    Result<Ptr> find(std::string const& owner, std::string const& id) const;
    Ptr find_by(std::string const& owner, std::string registry::WorkspaceRecord::*field,
                std::string const& value) const;
    View view(Workspace const&) const;
    void tell(Workspace const&, bool list = false) const;  ///< its state changed; `list`: it came or went

    // lifecycle.cpp: every change of a workspace's sandbox. The caller holds the workspace's turn.
    struct First {  ///< what a new workspace is furnished with, before anyone can find it
        CreateRequest const& request;
        std::string& note;
    };
    Task<Status> start(Ptr w, sandbox::Taken taken, std::shared_ptr<Volume> volume, First const* first);
    Task<Status> wake(Ptr w, bool& restarted);
    Task<Status> put_to_sleep(Ptr w, std::string why);  ///< destroy the sandbox, keep the files
    Task<Status> destroy(Ptr w);
    Status equip(Ptr const& w);  ///< death handler and egress for w->sandbox
    Task<void> keep_tails(Ptr w);
    Task<void> bury(Ptr w, std::shared_ptr<sandbox::Sandbox> dead, sandbox::Death death);

    // create.cpp
    Task<Result<Created>> create(std::string owner, CreateRequest request);
    Result<Settings> settle(CreateRequest const&) const;  ///< defaults filled in, maxima checked
    Task<Status> furnish(Ptr w, CreateRequest const& request, std::string& note);

    // recovery.cpp
    Task<RecoveryReport> recover();
    Task<void> relearn_processes(Ptr w);

    // idle.cpp
    Task<void> idle_loop();
    Task<void> idle_look(Ptr w);

    asio::io_context& io;
    base::BlockingPool& pool;
    config::Settings const& config;
    registry::Registry& records;
    sandbox::Sandboxes& sandboxes;
    VolumeStore& volumes;
    sandbox::EgressProxy& egress;
    std::unordered_map<std::string, Ptr> table;
    std::unordered_map<std::string, registry::ProcessRecord>
        processes;  ///< started by this server, newest state known
    std::function<void(Change const&)> changed;
    asio::steady_timer idle_timer;
    Turn creating;  ///< for requests that name something which must be unique
    bool stopping = false;
};

std::int64_t now_ms();

}  // namespace workspace
