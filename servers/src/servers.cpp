#include "impl.hpp"
#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>

#include <spdlog/spdlog.h>

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

// The file and the lives of servers: what is configured, what runs, what has to change.
namespace servers {
namespace {

using base::errc;
using base::error;

constexpr base::milliseconds kLook{1'000};  // how often the file is looked at
constexpr base::milliseconds kHousework{1'000};
constexpr std::size_t kChoresAtOnce = 4;
constexpr base::milliseconds kChorePoll{10};
constexpr std::size_t kMaxClashes = 20;  // of resources, named in a status

/// Changes when the file does.
std::string stamp_of(std::string const& path) {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) return {};
    return std::to_string(st.st_ino) + ':' + std::to_string(st.st_size) + ':' +
           std::to_string(st.st_mtim.tv_sec) + '.' + std::to_string(st.st_mtim.tv_nsec) + ':' +
           std::to_string(st.st_mode) + ':' + std::to_string(st.st_uid);
}

std::set<std::string> volumes_in(std::string const& directory) {
    std::set<std::string> out;
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec))
        if (auto name = it->path().filename().string(); !name.starts_with('.')) out.insert(std::move(name));
    return out;
}

}  // namespace

Servers::Impl::Impl(asio::io_context& context, base::BlockingPool& pool, Options given,
                    registry::Registry& registry, sandbox::Sandboxes& sandboxes, sandbox::EgressProxy& egress,
                    std::unique_ptr<workspace::VolumeStore> store)
    : io(context),
      options(std::move(given)),
      records(registry),
      volumes(std::move(store)),
      pad{context,
          pool,
          sandboxes,
          *volumes,
          egress,
          options.directory + "/mounts",
          options.default_template,
          nullptr,
          options.workspace_files},
      around{context,
             pad,
             registry,
             options.name_limit,
             {{"name", "berth"}, {"version", options.version}},
             LoginStore(options.directory + "/logins"),
             [more = options.command_options](std::string const& server) {
                 bool const plain = server.find_first_of(" @") == server.npos;
                 return "sudo berth servers login " + (plain ? server : "'" + server + "'") + more;
             },
             [this] { rebuild(); },
             [this](Upstream const& by, std::string const& uri) {
                 if (hub && owner_of(uri).get() == &by) hub->resource_updated(uri);
             }} {}

base::Result<std::unique_ptr<Servers>> Servers::open(asio::io_context& io, base::BlockingPool& pool,
                                                     Options options, registry::Registry& records,
                                                     sandbox::Sandboxes& sandboxes,
                                                     sandbox::EgressProxy& egress) {
    for (auto const* below : {"", "/mounts"})
        if (auto s = base::sys::mkdir(options.directory + below, 0700); !s) return s.error();
    unmount_leftovers(options.directory + "/mounts");
    workspace::VolumeStore::Options volumes;
    volumes.directory = options.directory + "/volumes";
    volumes.stock = 0;
    auto store = workspace::VolumeStore::open(io, pool, std::move(volumes));
    if (!store) return base::wrap(store.error(), "volumes of MCP servers");
    auto impl =
        std::make_shared<Impl>(io, pool, std::move(options), records, sandboxes, egress, std::move(*store));
    return std::unique_ptr<Servers>(new Servers(std::move(impl)));
}

Servers::~Servers() = default;

Task<void> Servers::start(mcp::Hub& hub) {
    auto const impl = impl_;
    impl->hub = &hub;
    // What a crash left mounted is let go. Volumes of servers that are no longer configured stay: an entry
    // that is commented out for a day should not lose its cache or its memory.
    auto const found = volumes_in(impl->options.directory + "/volumes");
    (void)co_await impl->volumes->recover(found);
    co_await impl->open_images();
    co_await impl->load();
    asio::co_spawn(impl->io, impl->watch_file(), asio::detached);
    asio::co_spawn(impl->io, impl->keep_house(), asio::detached);
}

/// Images of an earlier berth are of no use: the other ends of their streams are gone. So the key is known to this process alone.
Task<void> Servers::Impl::open_images() {
    auto const self = shared_from_this();
    sandbox::LocalImages local;
    local.directory = options.directory + "/images";
    local.key = base::Secret(base::random_bytes(32));
    local.max_bytes = options.image_bytes;
    auto remove = [directory = local.directory] { return base::remove_tree(directory); };
    auto removed = co_await base::blocking(pad.pool, std::move(remove));
    auto store = sandbox::open_local_images(pad.pool, std::move(local));
    if (!removed || !store) {
        spdlog::error("servers cannot hibernate: {}", removed ? store.error().message() : removed.error().message());
        co_return;
    }
    images = std::move(*store);
    pad.images = images.get();
}

Task<void> Servers::stop() {
    auto const impl = impl_;
    impl->stopping = true;
    impl->parked.cancel_all();
    for (auto const& [name, upstream] : std::map(impl->upstreams))
        co_await upstream->retire("berth stops");
    while (!impl->chores.empty()) co_await base::sleep_for(kChorePoll);  // each ends with its server
    co_await impl->volumes->stop(true);
}

Servers::Impl::Ptr Servers::Impl::find(std::string const& name) const {
    auto const it = upstreams.find(name);
    return it == upstreams.end() ? nullptr : it->second;
}

Task<void> Servers::Impl::load() {
    auto const self = shared_from_this();
    if (options.file.empty()) co_return;
    while (loading && !stopping) co_await base::sleep_for(kChorePoll);
    if (stopping) co_return;
    loading = true;
    struct Done {
        ~Done() { loading = false; }
        bool& loading;
    } const done{loading};
    // What is looked at again is what stood there before it was read: a change meanwhile is seen.
    std::map<std::string, std::string> read{{options.file, stamp_of(options.file)}};
    auto variables = config::process_variables();
    variables.file = [&read, open = std::move(variables.file)](std::string const& path) {
        read.try_emplace(path, stamp_of(path));
        return open(path);
    };
    auto file = config::load_servers(options.file, variables);
    if (file)
        stamps = std::move(read);
    else
        stamps[options.file] = read[options.file];
    if (!file) {
        bool const missing = base::is(file.error(), errc::not_found);
        file_problem = missing && upstreams.empty() ? "" : file.error().message();
        if (!file_problem.empty())
            spdlog::error("{}{}", file_problem, upstreams.empty() ? "" : "; the servers go on as they were");
        if (!missing || upstreams.empty()) co_return;
        // Taken away on purpose: no file, no servers.
        config::ServerFile none;
        co_await apply(std::move(none));
        co_return;
    }
    file_problem.clear();
    co_await apply(std::move(*file));
}

/// By difference: only servers whose program or sandbox is another one now are ended.
Task<void> Servers::Impl::apply(config::ServerFile file) {
    auto const self = shared_from_this();
    file_notes = file.notes;
    std::set<std::string> named;
    for (auto& entry : file.servers) {
        named.insert(entry.name);
        if (!entry.problem.empty()) spdlog::error("{}", entry.problem);
        for (auto const& note : entry.notes) spdlog::warn("{}", note);
        if (entry.isolation == config::ServerEntry::Isolation::host_insecure)
            spdlog::warn("server {} runs outside any sandbox (isolation: host-insecure)", entry.name);
        auto const before = find(entry.name);
        bool const same = before && before->entry().fingerprint == entry.fingerprint &&
                          before->entry().problem == entry.problem &&
                          before->entry().disabled == entry.disabled &&
                          before->entry().restart_on_exit == entry.restart_on_exit &&
                          before->entry().max_restarts == entry.max_restarts &&
                          before->entry().restart_delay == entry.restart_delay;
        if (same) {
            before->reconfigure(std::move(entry));
            continue;
        }
        if (before) co_await before->retire("its configuration changed");
        auto const upstream = std::make_shared<Upstream>(around, std::move(entry));
        upstreams[upstream->entry().name] = upstream;
        if (before) upstream->watched() = before->watched();  // housekeeping tells it
        co_await upstream->recall();
    }
    for (auto const& [name, upstream] : std::map(upstreams)) {
        if (named.contains(name)) continue;
        co_await upstream->retire("it is no longer configured");
        upstreams.erase(name);
    }
    rebuild();
    asio::co_spawn(io, learn_unknown(), asio::detached);
}

/// Starts servers of which nothing is known yet, or that shall always run; a few at a time, beside everything
/// else.
Task<void> Servers::Impl::learn_unknown() {
    auto const self = shared_from_this();
    auto one = [](std::shared_ptr<Impl> impl, Ptr upstream) -> Task<void> {
        auto started = co_await upstream->use();  // its failure stands in its state
        --impl->learning;
        (void)started;
    };
    for (auto const& [name, upstream] : std::map(upstreams)) {
        bool const wanted = !upstream->known() || !upstream->entry().start_on_demand;
        if (!wanted || upstream->life().state() != State::asleep || find(name) != upstream) continue;
        while (learning >= options.max_starts && !stopping) co_await base::sleep_for(base::milliseconds(50));
        if (stopping) co_return;
        ++learning;
        asio::co_spawn(io, one(self, upstream), asio::detached);
    }
}

Task<void> Servers::Impl::watch_file() {
    auto const self = shared_from_this();
    while (!stopping && !options.file.empty()) {
        co_await base::sleep_for(kLook);
        auto const changed = std::find_if(stamps.begin(), stamps.end(),
                                          [](auto const& one) { return stamp_of(one.first) != one.second; });
        if (changed == stamps.end() || stopping) continue;
        spdlog::info("{} changed", changed->first);
        co_await load();
    }
}

Task<void> Servers::Impl::keep_house() {
    auto const self = shared_from_this();
    while (!stopping) {
        co_await base::sleep_for(kHousework);
        if (stopping) co_return;
        parked.sweep();
        std::vector<Ptr> due;
        for (auto const& [name, upstream] : upstreams) {
            forget_watches(*upstream);
            if (upstream->missed_by_watchers()) asio::co_spawn(io, upstream->serve_watchers(), asio::detached);
            if (!chores.contains(name) && (upstream->login_changed() || is_idle(*upstream))) due.push_back(upstream);
        }
        // Those that wait longest first; the others come to it in the next rounds.
        std::sort(due.begin(), due.end(), [](Ptr const& a, Ptr const& b) { return a->last_used() < b->last_used(); });
        for (auto const& upstream : due) {
            if (chores.size() >= kChoresAtOnce) break;
            chores.insert(upstream->entry().name);
            // Apart from this loop: one that is slow to end is not to hold up the others.
            asio::co_spawn(io, chore(upstream), asio::detached);
        }
    }
}

bool Servers::Impl::is_idle(Upstream& upstream) const {
    auto const& entry = upstream.entry();
    auto const limit = entry.idle_timeout;
    if (!upstream.life().running() || limit.count() == 0 || !entry.start_on_demand) return false;
    if (upstream.in_flight() > 0 || base::Clock::now() - upstream.last_used() < limit) return false;
    return upstream.watched().empty();
}

/// Clients leave without a word: what none of them watches any more.
void Servers::Impl::forget_watches(Upstream& upstream) const {
    std::erase_if(upstream.watched(), [&](auto const& uri) {
        return !hub || !hub->watched(public_uri(upstream.entry().name, uri));
    });
}

/// What is due for one server: the login that `berth servers login` or `logout` left for it, or rest.
Task<void> Servers::Impl::chore(Ptr upstream) {
    auto const self = shared_from_this();
    auto const name = upstream->entry().name;
    bool const logged = upstream->login_changed();
    try {
        bool const idle = !logged && is_idle(*upstream);  // it may have been used since it was seen
        if (logged) co_await upstream->login_again();
        if (idle && upstream->can_hibernate())
            co_await upstream->hibernate();
        else if (idle)
            co_await upstream->stop("idle", false);
    } catch (std::exception const& e) {
        spdlog::error("server {}: housekeeping: {}", name, e.what());
    }
    chores.erase(name);
    if (logged && !stopping) asio::co_spawn(io, learn_unknown(), asio::detached);
}

base::Json Servers::Impl::brief(Upstream const& upstream) const {
    auto const& entry = upstream.entry();
    base::Json out{{"server", entry.name},
                   {"state", to_string(upstream.life().state())},
                   {"tools", upstream.tools().size()}};
    if (!upstream.life().reason().empty()) out["reason"] = upstream.redactor().text(upstream.life().reason());
    if (upstream.hibernated()) out["memory"] = "on disk";
    if (auto next = upstream.next_step(); !next.empty()) out["next_step"] = std::move(next);
    if (!upstream.held().empty()) out["held_back"] = upstream.held().size();
    if (entry.kind != config::ServerEntry::Kind::stdio)
        out["isolation"] = "remote";
    else
        out["isolation"] =
            entry.isolation == config::ServerEntry::Isolation::sandbox ? "sandbox" : "host-insecure";
    return out;
}

std::string Servers::file_problem() const { return impl_->file_problem; }

base::Json Servers::list() const {
    auto out = base::Json::array();
    for (auto const& [name, upstream] : impl_->upstreams) out.push_back(impl_->brief(*upstream));
    return out;
}

base::Result<base::Json> Servers::status(std::string const& server) const {
    auto const upstream = impl_->find(server);
    if (!upstream)
        return error(errc::not_found,
                     impl_->file_problem.empty()
                         ? "no server is named " + server.substr(0, 100) + "; servers_list names them"
                         : "no server is named " + server.substr(0, 100) + ", but " + impl_->file_problem);
    auto const& entry = upstream->entry();
    auto const& life = upstream->life();
    auto out = impl_->brief(*upstream);
    auto const& offer = upstream->offer();
    out["failures"] = life.failures();
    if (life.state() == State::backing_off)
        out["next_try_ms"] = std::max<std::int64_t>(
            0, std::chrono::duration_cast<base::milliseconds>(life.next_try() - base::Clock::now()).count());
    out["says"] = {{"name", offer.name}, {"version", offer.version}};
    out["revision"] = offer.revision;
    if (!offer.instructions.empty()) out["instructions"] = offer.instructions;
    out["offers"] = {{"tools", offer.tools.size()},
                     {"prompts", offer.prompts.size()},
                     {"resources", offer.resources.size()},
                     {"templates", offer.templates.size()}};
    out["calls"] = upstream->calls;
    out["failed_calls"] = upstream->failed_calls;
    out["starts"] = upstream->starts;
    if (entry.hibernate) out["sleeps"] = upstream->sleeps, out["wakes"] = upstream->wakes;
    out["in_flight"] = upstream->in_flight();
    if (!upstream->last_calls().empty()) out["last_calls"] = upstream->last_calls();
    auto refused = base::Json::array();
    for (auto const& one : upstream->refusals().last())
        refused.push_back({{"destination", upstream->redactor().text(one.host)}, {"why", one.why.empty() ? "not in sandbox.network.allowedDomains" : one.why}});
    if (!refused.empty()) out["refused"] = std::move(refused);
    if (auto const& connection = upstream->connection(); connection && connection->program) {
        out["where"] = connection->program->where();
        if (auto const usage = connection->program->usage())
            out["usage"] = {
                {"memory_mb", usage->memory_bytes >> 20}, {"cpu_ms", usage->cpu_ms}, {"pids", usage->pids}};
    }
    if (offer.invisible_removed > 0) out["invisible_characters_removed"] = offer.invisible_removed;
    auto held = base::Json::array();
    for (auto const& tool : upstream->held())
        held.push_back({{"tool", tool.tool}, {"new", tool.is_new}, {"differences", tool.differences}});
    if (!held.empty()) out["held"] = std::move(held), out["held_hash"] = held_hash(upstream->held());
    auto warnings = base::Json::array();
    for (auto const& tool : upstream->tools())
        for (auto const& phrase : tool.warnings)
            warnings.push_back("the description of " + tool.public_name + " contains \"" + phrase + '"');
    for (auto const& [collisions, what] : {std::pair(&impl_->collisions, "tools"), std::pair(&impl_->prompt_collisions, "prompts")})
        for (auto const& collision : *collisions)
            for (auto const& claimant : collision.claimants)
                if (claimant.starts_with(server + "/"))
                    warnings.push_back("the name " + collision.name + " is claimed by several " + what +
                                       ", so none of them has it: " + claimant);
    std::size_t clashes = 0;
    for (auto const& collision : impl_->uri_collisions) {
        auto const of = [&](std::string const& claimant) { return claimant == server + "/" + collision.name; };
        auto const& first = collision.claimants.front();
        if (std::none_of(collision.claimants.begin(), collision.claimants.end(), of) || ++clashes > kMaxClashes) continue;
        warnings.push_back("the resource " + collision.name.substr(0, 200) + " is offered by several servers, and " +
                           first.substr(0, first.size() - collision.name.size() - 1) + " has it");
    }
    if (clashes > kMaxClashes)
        warnings.push_back("and so are " + std::to_string(clashes - kMaxClashes) + " more of its resources");
    for (auto const& note : entry.notes) warnings.push_back(note);
    if (!impl_->file_problem.empty())
        warnings.push_back("the last edit is not in force: " + impl_->file_problem);
    if (!warnings.empty()) out["warnings"] = std::move(warnings);
    return out;
}

Task<base::Result<base::Json>> Servers::restart(std::string server) {
    auto const impl = impl_;
    // Whatever the entry refers to, however little its file shows a change; to the end, though the caller may leave.
    auto const read = std::make_shared<bool>(false);
    auto load = [](std::shared_ptr<Impl> self, std::shared_ptr<bool> over) -> Task<void> {
        co_await self->load();
        *over = true;
    };
    asio::co_spawn(impl->io, load(impl, read), asio::detached);
    while (!*read) co_await base::sleep_for(kChorePoll);
    auto const upstream = impl->find(server);
    if (!upstream) co_return error(errc::not_found, "no server is named " + server.substr(0, 100));
    co_await upstream->stop("restart asked for", true);
    auto used = co_await upstream->use();
    if (!used) co_return used.error();
    co_return impl->brief(*upstream);
}

base::Result<std::vector<std::string>> Servers::logs(std::string const& server, std::size_t lines) const {
    auto const upstream = impl_->find(server);
    if (!upstream) return error(errc::not_found, "no server is named " + server.substr(0, 100));
    auto out = upstream->log().tail(lines);
    for (auto& line : out) line = upstream->redactor().text(std::move(line));
    return out;
}

Task<base::Result<std::vector<std::string>>> Servers::approve(std::string server,
                                                              std::vector<std::string> tools,
                                                              std::string hash, std::string who) {
    auto const impl = impl_;
    auto const upstream = impl->find(server);
    if (!upstream) co_return error(errc::not_found, "no server is named " + server.substr(0, 100));
    co_return co_await upstream->approve(std::move(tools), std::move(hash), std::move(who));
}

std::size_t Servers::count() const {
    return static_cast<std::size_t>(
        std::count_if(impl_->upstreams.begin(), impl_->upstreams.end(),
                      [](auto const& entry) { return entry.second->life().state() != State::disabled; }));
}

std::string Servers::metrics() const {
    std::string states = "# TYPE berth_server_up gauge\n",
                calls = "# TYPE berth_server_calls_total counter\n",
                failed = "# TYPE berth_server_failed_calls_total counter\n",
                starts = "# TYPE berth_server_starts_total counter\n";
    for (auto const& [name, upstream] : impl_->upstreams) {
        auto const label = "{server=" + base::dump(base::Json(name));
        states += "berth_server_up" + label + ",state=\"" + to_string(upstream->life().state()) + "\"} " +
                  (upstream->life().running() ? "1" : "0") + "\n";
        calls += "berth_server_calls_total" + label + "} " + std::to_string(upstream->calls) + "\n";
        failed +=
            "berth_server_failed_calls_total" + label + "} " + std::to_string(upstream->failed_calls) + "\n";
        starts += "berth_server_starts_total" + label + "} " + std::to_string(upstream->starts) + "\n";
    }
    return impl_->upstreams.empty() ? std::string() : states + calls + failed + starts;
}

}  // namespace servers
