#include "impl.hpp"
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>
#include <workspace/tool_path.hpp>

#include <boost/asio/experimental/parallel_group.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

namespace workspace {

std::int64_t now_ms() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

base::Error unknown(std::string const& id) {
    return base::error(base::errc::not_found,
                       "there is no workspace \"" + id.substr(0, 80) +
                           "\"; workspace_list shows yours, workspace_create makes one");
}

namespace {

constexpr std::size_t kProcessesRemembered = 20'000;
constexpr base::milliseconds kCleanUp{30'000}, kLookAgain{5};

}  // namespace

void Workspace::happens(Event event) {
    auto const next = after(state, event);
    if (next) state = *next;
    else
        spdlog::error("workspace {}: \"{}\" cannot happen to one that is {}", record.id, to_string(event),
                      to_string(state));
}

Lease::Lease(std::shared_ptr<Workspace> w) : workspace_(std::move(w)) { ++workspace_->leases; }
Lease::Lease(Lease&&) noexcept = default;
Lease& Lease::operator=(Lease&& other) noexcept {
    std::swap(workspace_, other.workspace_);
    std::swap(sandbox_, other.sandbox_);
    std::swap(arrival_, other.arrival_);
    return *this;
}
Lease::~Lease() {
    if (!workspace_) return;
    --workspace_->leases;
    workspace_->used();
}
std::string const& Lease::id() const { return workspace_->record.id; }
std::uint64_t Lease::generation() const { return workspace_->record.generation; }

registry::ProcessRecord record_of(std::string workspace, std::uint64_t generation, std::string command,
                                  sandbox::ProcessView const& p) {
    registry::ProcessRecord r;
    r.id = p.id;
    r.workspace = std::move(workspace);
    r.generation = generation;
    r.command = command.substr(0, 500);
    r.running = p.running;
    r.exit_code = p.exit_code;
    r.signal = p.signal;
    r.reason = p.reason;
    r.started_ms = p.started_ms;
    r.ended_ms = p.ended_ms;
    r.total_bytes = p.total_bytes;
    return r;
}

Workspaces::Workspaces(asio::io_context& io, base::BlockingPool& pool, config::Settings const& config,
                       registry::Registry& records, sandbox::Sandboxes& sandboxes, VolumeStore& volumes,
                       sandbox::EgressProxy& egress)
    : impl_(std::make_unique<Impl>(io, pool, config, records, sandboxes, volumes, egress)) {}
Workspaces::~Workspaces() = default;

Result<Workspaces::Impl::Ptr> Workspaces::Impl::find(std::string const& owner, std::string const& id) const {
    auto const it = table.find(id);
    if (it != table.end() && it->second->record.owner == owner && !it->second->deleted()) return it->second;
    // Agents remember names; a name that is unique for its owner is as good as the id.
    if (auto named = find_by(owner, &registry::WorkspaceRecord::name, id)) return named;
    return unknown(id);
}

Workspaces::Impl::Ptr Workspaces::Impl::find_by(std::string const& owner,
                                                std::string registry::WorkspaceRecord::*field,
                                                std::string const& value) const {
    if (value.empty()) return nullptr;
    for (auto const& [id, w] : table)
        if (w->record.*field == value && w->record.owner == owner && !w->deleted()) return w;
    return nullptr;
}

View Workspaces::Impl::view(Workspace const& w) const {
    View v;
    v.id = w.record.id;
    v.name = w.record.name;
    v.template_name = w.record.template_name;
    v.runtime = w.settings.runtime;
    v.state = to_string(w.state);
    v.fidelity = w.record.fidelity;
    v.fidelity_reason = w.record.fidelity == "files" ? w.record.fidelity_reason : "";
    v.image_bytes = w.image ? w.image->bytes : 0;
    v.generation = w.record.generation;
    v.limits = w.settings.limits;
    v.disk_bytes = w.settings.disk_bytes;
    v.allow = w.settings.allow;
    v.idle = w.settings.idle;
    v.last_error = w.record.last_error;
    v.created_ms = w.record.created_ms;
    v.active_ms = w.record.active_ms;
    return v;
}

Task<RecoveryReport> Workspaces::recover() { return impl_->recover(); }
void Workspaces::start_idle_policy() { asio::co_spawn(impl_->io, impl_->idle_loop(), asio::detached); }

Task<Result<Created>> Workspaces::create(std::string owner, CreateRequest request) {
    // A claim is half made in between: it runs to its end, and goes again when nobody is left to hear of it.
    co_await asio::this_coro::throw_if_cancelled(false);
    auto const caller = std::make_shared<Impl::Caller>();
    auto watch = [](std::shared_ptr<Impl::Caller> c) -> Task<void> {
        asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
        co_await never.async_wait(base::as_tuple);
        c->gone = true;
        if (auto left = std::exchange(c->left, nullptr)) left();
    };
    auto whole = base::uncancelled(impl_->create(owner, std::move(request), caller));
    auto watching = watch(caller);
    auto [order, thrown, created, unused] =
        co_await asio::experimental::make_parallel_group(
            asio::co_spawn(impl_->io, std::move(whole), asio::deferred),
            asio::co_spawn(impl_->io, std::move(watching), asio::deferred))
            .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    if (thrown) std::rethrow_exception(thrown);
    bool const gone = co_await base::is_cancelled();
    if (gone && created && !created->existed)
        (void)co_await base::uncancelled(remove(owner, created->view.id));
    co_await asio::this_coro::throw_if_cancelled(true);
    if (gone) co_return base::error(base::errc::cancelled, "the caller went away");
    if (created && created->existed) {
        // The same workspace as before is handed out ready to use.
        auto lease = co_await awake(owner, created->view.id);
        if (!lease) co_return lease.error();
        auto seen = get(owner, created->view.id);
        if (seen) created->view = *seen;
    }
    co_return created;
}

Result<View> Workspaces::get(std::string const& owner, std::string const& id) const {
    auto w = impl_->find(owner, id);
    if (!w) return w.error();
    return impl_->view(**w);
}

std::vector<View> Workspaces::list(std::string const& owner) const {
    std::vector<View> out;
    for (auto const& [id, w] : impl_->table)
        if (w->record.owner == owner && !w->deleted()) out.push_back(impl_->view(*w));
    std::sort(out.begin(), out.end(), [](View const& a, View const& b) {
        return std::tie(b.created_ms, a.id) < std::tie(a.created_ms, b.id);
    });
    return out;
}

Task<Status> Workspaces::remove(std::string owner, std::string id) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    co_return co_await base::uncancelled(impl_->destroy(*w));
}

Task<Result<Lease>> Workspaces::awake(std::string owner, std::string id) {
    auto found = impl_->find(owner, id);
    if (!found) co_return found.error();
    auto w = *found;
    Lease lease(w);
    w->used();
    auto const now = now_ms();
    if (now - w->record.active_ms > 1000) {
        w->record.active_ms = now;
        impl_->records.touch_workspace_lazy(w->record.id, now);
    }
    if (w->state == State::running && w->sandbox && w->sandbox->alive() && !w->replaced) {
        lease.sandbox_ = w->sandbox;
        co_return lease;
    }
    auto const arrivals = w->arrivals;
    auto const asked = base::Clock::now();
    auto held = co_await w->turn.take();
    auto const waited = elapsed_ms(asked);
    Arrival arrival;
    auto woken = co_await base::uncancelled(impl_->bring_up(w, &arrival));
    if (!woken) co_return woken.error();
    if (arrival.was_away()) {
        sandbox::Phase const turn{"turn", waited};
        arrival.phases.insert(arrival.phases.begin(), turn);
        arrival.took_ms += waited;
        ++w->arrivals;
        w->arrival = arrival;
    } else if (w->arrivals != arrivals) {
        arrival = w->arrival;    // another caller's, which this one waited for
    }
    lease.arrival_ = std::move(arrival);
    lease.sandbox_ = w->sandbox;
    w->used();
    co_return lease;
}

Task<Result<Slept>> Workspaces::hibernate(std::string owner, std::string id, HibernateRequest request) {
    auto found = impl_->find(owner, id);
    if (!found) co_return found.error();
    auto const w = *found;
    auto held = co_await w->turn.take();
    auto work = impl_->hibernate(w, request);
    auto slept = co_await base::uncancelled(std::move(work));
    co_return slept;
}

Task<Result<Woken>> Workspaces::wake(std::string owner, std::string id) {
    auto lease = co_await awake(std::move(owner), std::move(id));
    if (!lease) co_return lease.error();
    Woken woken;
    woken.view = impl_->view(*lease->workspace_);
    woken.arrival = lease->arrival();
    co_return woken;
}

void Workspaces::use_images(sandbox::ImageStore& images) { impl_->images = &images; }

LifeCounts Workspaces::life_counts() const {
    auto counts = impl_->counts;
    for (auto const& [id, w] : impl_->table) {
        ++counts.states[std::string(to_string(w->state))];
        ++counts.runtimes[w->settings.runtime];
    }
    return counts;
}

Task<Result<Place>> Workspaces::place(std::string owner, std::string id, std::string path) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    (*w)->used();
    auto const at = tool_path(path);
    Place place;
    place.path = at.path;
    place.workspace = (*w)->record.id;
    if (at.root == ToolPath::Root::neither) co_return place;
    auto volume = co_await impl_->volumes.open_volume((*w)->record.volume);
    if (!volume) co_return volume.error();
    (*w)->unmount_at = base::Clock::now() + kMountKept;  // only if it sleeps then
    place.volume = *volume;
    place.home = at.root == ToolPath::Root::home;
    place.root = place.home ? &place.volume->home() : &place.volume->files();
    co_return place;
}

Task<Result<std::optional<Lease>>> Workspaces::awake_for(std::string owner, Place place, Touch touch) {
    auto found = impl_->find(owner, place.workspace);
    if (!found) co_return found.error();
    auto const state = (*found)->state;
    auto const id = (*found)->record.id;
    bool const asleep = state == State::hibernated || state == State::hibernating || state == State::waking;
    bool const looks_at_sizes = (*found)->settings.runtime == sandbox::RuntimeKind::native;
    std::optional<Lease> awake_already;
    if (!asleep || !place.root || (touch == Touch::write && !looks_at_sizes)) co_return awake_already;
    if (touch == Touch::write) {
        // Nobody has a name open that is not there: what sleeps with a deleted file open is not saved.
        auto look = [place] { return place.root->stat(place.path); };
        auto there = co_await base::blocking(impl_->pool, std::move(look));
        if (!there && base::is(there.error(), base::errc::not_found)) co_return awake_already;
    }
    auto lease = co_await awake(owner, id);
    if (!lease) co_return lease.error();
    std::optional<Lease> held(std::move(*lease));
    co_return held;
}

Result<sandbox::Usage> Workspaces::usage(std::string const& owner, std::string const& id) const {
    auto w = impl_->find(owner, id);
    if (!w) return w.error();
    if (!(*w)->sandbox) return sandbox::Usage{};
    return (*w)->sandbox->usage();
}

Result<VolumeUsage> Workspaces::disk(std::string const& owner, std::string const& id) const {
    auto w = impl_->find(owner, id);
    if (!w) return w.error();
    return impl_->volumes.usage_of((*w)->record.volume);
}

Task<Result<registry::ProcessRecord>> Workspaces::process(std::string owner, std::string process_id) {
    registry::ProcessRecord record;
    if (auto const it = impl_->processes.find(process_id); it != impl_->processes.end()) {
        record = it->second;
    } else {
        auto stored = co_await impl_->records.process(process_id);
        if (!stored) co_return stored.error();
        if (stored->has_value()) record = std::move(**stored);
    }
    if (record.id.empty() || !impl_->find(owner, record.workspace))
        co_return base::error(
            base::errc::not_found,
            "there is no process \"" + process_id.substr(0, 80) +
                "\"; run_command returns process_id, workspace_get with include [\"processes\"] lists them");
    co_return record;
}

Task<Result<std::vector<registry::ProcessRecord>>> Workspaces::processes(std::string owner, std::string id,
                                                                         std::size_t limit) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto const workspace = (*w)->record.id;
    auto stored = co_await impl_->records.processes_of(workspace, limit);
    if (!stored) co_return stored.error();
    // Records are written a little later than they are known here.
    std::map<std::string, registry::ProcessRecord> by_id;
    for (auto& p : *stored) by_id.emplace(p.id, std::move(p));
    for (auto const& [process, p] : impl_->processes)
        if (p.workspace == workspace) by_id.insert_or_assign(process, p);
    std::vector<registry::ProcessRecord> out;
    for (auto& [process, p] : by_id) out.push_back(std::move(p));
    // One that is only about to start has no time yet, and is the newest.
    auto const began = [](registry::ProcessRecord const& p) {
        return p.started_ms ? p.started_ms : INT64_MAX;
    };
    std::stable_sort(out.begin(), out.end(),
                     [&](auto const& a, auto const& b) { return began(a) > began(b); });
    if (out.size() > limit) out.resize(limit);
    co_return out;
}

void Workspaces::remember(registry::ProcessRecord record) {
    auto& known = impl_->processes;
    if (known.size() >= kProcessesRemembered)
        for (auto it = known.begin(); it != known.end() && known.size() >= kProcessesRemembered;)
            it = it->second.running ? std::next(it) : known.erase(it);
    auto const id = record.id;
    if (auto const before = known.find(id); before != known.end()) {
        record.keep_alive = record.keep_alive || before->second.keep_alive;
        record.background = record.background || before->second.background;
    }
    impl_->records.put_process_lazy(record);
    known.insert_or_assign(id, std::move(record));
}

void Workspaces::Impl::tell(Workspace const& w, bool list) const {
    if (!changed) return;
    Change const change{w.record.id, list, ""};
    changed(change);
}

void Workspaces::file_changed(Place const& place) {
    if (!impl_->changed || !place.root) return;
    auto path = std::filesystem::path(place.path).lexically_normal().string();
    if (path.size() > 1 && path.ends_with('/')) path.pop_back();
    if (place.home) path = path == "." ? "~" : "~/" + path;
    Change const change{place.workspace, false, std::move(path)};
    impl_->changed(change);
}

void Workspaces::on_change(std::function<void(Change const&)> handler) {
    impl_->changed = std::move(handler);
}
std::size_t Workspaces::count() const { return impl_->table.size(); }
asio::any_io_executor Workspaces::executor() const { return impl_->io.get_executor(); }

Task<void> Workspaces::shut_down(bool stop_all) {
    impl_->stopping = true;
    impl_->idle_timer.cancel();
    // What goes to sleep right now gets there, and what slept before is put away.
    auto const end = base::Clock::now() + kCleanUp;
    while (impl_->background + impl_->resting + impl_->freezing > 0 && base::Clock::now() < end) co_await base::sleep_for(kLookAgain);
    if (!stop_all) co_return;
    auto const everything = std::vector<Impl::Ptr>([&] {
        std::vector<Impl::Ptr> out;
        for (auto const& [id, w] : impl_->table) out.push_back(w);
        return out;
    }());
    for (auto const& w : everything) {
        auto held = co_await w->turn.take();
        // Those that sleep on disk go on sleeping.
        if (w->sandbox) (void)co_await impl_->put_to_rest(w, "the server was shut down");
    }
}

}  // namespace workspace
