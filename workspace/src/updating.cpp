// Settings of a workspace, changed while it lives. The record goes first: a crash before it leaves the old ones, and what a crash
// after it kept from the sandbox, the next server gives to it (recovery.cpp) or the next start does.
#include "impl.hpp"
#include <base/uncancelled.hpp>

#include <spdlog/spdlog.h>

namespace workspace {
namespace {

std::string whole_mib(std::uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

Result<Settings> Workspaces::Impl::changed_settings(Workspace const& w, UpdateRequest const& r) const {
    auto next = w.settings;
    next.idle.freeze_after = r.freeze_after.value_or(next.idle.freeze_after);
    next.idle.hibernate_after = r.hibernate_after.value_or(next.idle.hibernate_after);
    next.idle.stop_after = r.stop_after.value_or(next.idle.stop_after);
    next.idle.keep_alive = r.keep_alive.value_or(next.idle.keep_alive);
    next.limits.memory_bytes = r.memory_bytes.value_or(next.limits.memory_bytes);
    next.limits.cpus = r.cpus.value_or(next.limits.cpus);
    next.limits.pids = r.pids.value_or(next.limits.pids);
    next.allow = r.allow.value_or(next.allow);
    // What stays may be beyond maxima that came later.
    if (next.limits != w.settings.limits)
        if (auto ok = permitted_limits(next); !ok) return ok.error();
    if (next.allow != w.settings.allow)
        if (auto ok = permitted_hosts(next.allow); !ok) return ok.error();
    // What runs, or sleeps with its memory, may start as many processes as it began with, and gVisor dies at the host's limit.
    if (next.limits.pids < w.settings.limits.pids && w.state != State::stopped)
        return base::error(base::errc::invalid,
                           "limits.pids: it can be lowered only for a stopped workspace (workspace_hibernate with files_only), "
                           "because programs keep the number that they began with");
    if (next.limits.memory_bytes >= w.settings.limits.memory_bytes) return next;
    // The kernel would end the sandbox to make it fit.
    std::uint64_t used = w.image ? w.image->bytes + kNewSandbox : 0;
    if (w.sandbox)
        if (auto const usage = w.sandbox->usage()) used = usage->memory_bytes;
    if (used > next.limits.memory_bytes)
        return base::error(base::errc::limit, "limits.memory: it has " + whole_mib(used) +
                                                  " in use; end something in it first, or take more");
    return next;
}

Task<Status> Workspaces::Impl::take_settings(Ptr w, Settings const& has) {
    auto const& wanted = w->settings;
    auto const sandbox = w->sandbox;
    if (!sandbox || !sandbox->alive()) co_return Status();
    if (wanted.limits != has.limits)
        if (auto s = sandbox->set_limits(host_limits(wanted.limits)); !s) co_return s;
    if (wanted.allow != has.allow) {
        auto policy = sandbox::EgressPolicy::parse(wanted.allow);
        if (!policy) co_return policy.error();
        w->policy = std::make_shared<sandbox::EgressPolicy const>(std::move(*policy));
        egress.hold_to(w->record.id, w->policy);
    }
    if (wanted.allow == has.allow && wanted.limits.pids == has.limits.pids) co_return Status();
    if (sandbox->frozen()) {
        if (auto s = sandbox->thaw(); !s) co_return s;
        w->happens(Event::thaw);
    }
    auto setup = setup_for(*w);
    co_return co_await sandbox->guest().configure(std::move(setup));
}

Task<Status> Workspaces::Impl::update(Ptr w, UpdateRequest request) {
    put_right(*w);
    auto next = changed_settings(*w, request);
    if (!next) co_return next.error();
    auto record = w->record;
    record.settings = to_json(*next);
    auto noted = co_await records.update_workspace(std::move(record));
    auto const before = w->settings;
    auto taken = noted;
    if (noted) {
        w->settings = std::move(*next);
        w->record.settings = to_json(w->settings);
        taken = co_await take_settings(w, before);
        // One that died meanwhile has them when it starts.
        if (taken || !w->sandbox || !w->sandbox->alive()) {
            tell(*w);
            co_return Status();
        }
        auto const tried = std::exchange(w->settings, before);
        w->record.settings = to_json(before);
        if (auto s = co_await take_settings(w, tried); !s)
            spdlog::warn("workspace {}: its former settings: {}", w->record.id, s.error().message());
    }
    // Also what was not confirmed in time still happens: taken back, behind it.
    auto taken_back = co_await records.update_workspace(w->record);
    if (!taken_back)
        spdlog::error("workspace {}: settings that it does not have may be recorded: {}", w->record.id,
                      taken_back.error().message());
    co_return base::wrap(taken.error(), "nothing was changed");
}

Task<Result<View>> Workspaces::update(std::string owner, std::string id, UpdateRequest request) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    auto work = impl_->update(*w, std::move(request));
    auto done = co_await base::uncancelled(std::move(work));
    if (!done) co_return done.error();
    co_return impl_->view(**w);
}

}  // namespace workspace
