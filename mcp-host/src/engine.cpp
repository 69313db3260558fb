#include "engine.hpp"

#include "completion.hpp"
#include "prompts.hpp"
#include "resources.hpp"
#include "templates.hpp"
#include "tools/server_tools.hpp"

#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>
#include <mcp/toolsets.hpp>
#include <preview/workspace_backend.hpp>

#include <spdlog/spdlog.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace host {
namespace {

constexpr char const* kInstructions =
    "berth gives you Linux workspaces in sandboxes of their own. Start with workspace_create, then "
    "write_file and run_command. Files in "
    "/workspace last; background commands go on and read_process_output reads them. Pass workspace_id in "
    "every call, or process_id where a tool asks for that. get_preview_url gives a live URL of a server that runs inside.";

base::Result<base::Secret> token_in(std::string const& path) {
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0) {
        if (st.st_mode & 077)
            return base::error(base::errc::denied, path + " can be read by others: run chmod 600 on it");
        auto text = base::read_file(path, 4096);
        if (!text) return text.error();
        while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
        if (text->size() < 20)
            return base::error(base::errc::corrupt,
                               path + " holds no token: delete it and a new one is made");
        return base::Secret(std::move(*text));
    }
    auto const token = "berth-" + base::random_id(20);
    if (auto s = base::replace_file(path, token + "\n", 0600); !s) return s.error();
    return base::Secret(token);
}

sandbox::Options sandbox_options(EngineOptions const& o) {
    sandbox::Options out;
    out.directory = o.data_dir + "/sandboxes";  // a lock and a mode of its own
    out.guest_binary = o.guest_binary;
    auto const& s = o.settings;
    out.templates = templates_in(s.templates_dir);
    for (auto const& [name, pool] : s.pools) out.pool[name] = {pool.ready, pool.awake};
    out.native.allowed = s.native.allow;
    out.native.program = o.contain_binary;
    if (s.native.ready > 0)
        for (auto const& name : s.native.templates) out.native.pool[name] = {s.native.ready, std::min(s.native.ready, 2)};
    // As most workspaces want them, so that a claim need not write them.
    out.default_limits = workspace::host_limits({s.limits.memory_bytes, s.limits.cpus, s.limits.pids});
    out.max_sandboxes = s.max_sandboxes;
    out.max_boots = s.max_boots;
    out.on_trouble = [](std::string const& what) { spdlog::warn("sandboxes: {}", what); };
    return out;
}

// The last client's `berth stdio` waits for the end for 30 s: time for this, and for what is then taken apart.
constexpr base::milliseconds kClientsSleep{15'000};

bool is_toolset(std::string_view name) {
    return std::find(config::kToolsets.begin(), config::kToolsets.end(), name) != config::kToolsets.end();
}

/// A URL that asks for a toolset which does not exist would quietly lack tools: its requests are refused instead.
http::Handler only_toolsets_there_are(http::Handler next) {
    return [next = std::move(next)](http::Request request, http::Reply& reply) -> Task<void> {
        for (auto const& name : mcp::toolsets_from(request.query)) {
            if (is_toolset(name)) continue;
            auto const message = "there is no toolset \"" + base::to_utf8(name.substr(0, 60)) + "\"; there are " +
                                 config::toolset_names();
            Json const answer{{"jsonrpc", "2.0"}, {"id", nullptr}, {"error", {{"code", -32600}, {"message", message}}}};
            http::Fields fields;
            fields.set("Content-Type", "application/json");
            (void)co_await reply.send(http::Status::bad_request, std::move(fields), base::dump(answer));
            co_return;
        }
        co_await next(std::move(request), reply);
    };
}

servers::Options servers_options(EngineOptions const& o, workspace::Workspaces& workspaces) {
    servers::Options out;
    out.file = o.servers_file.empty() ? o.data_dir + "/servers.json" : o.servers_file;
    out.directory = o.data_dir + "/servers";
    out.default_template = o.settings.default_template;
    out.version = o.version;
    if (o.data_dir != kDefaultData) out.command_options = " --data " + o.data_dir;
    if (!o.servers_file.empty()) out.command_options += " --servers " + o.servers_file;
    out.name_limit = static_cast<std::size_t>(o.settings.servers.name_length);
    out.workspace_files = [&workspaces](std::string name)
        -> Task<base::Result<std::pair<std::string, std::shared_ptr<void>>>> {
        auto place = co_await workspaces.place("local", std::move(name), ".");
        if (!place) co_return place.error();
        if (!place->volume) co_return base::error(base::errc::unavailable, "its files are not on this machine");
        co_return std::pair<std::string, std::shared_ptr<void>>(place->volume->host_directory() + "/workspace",
                                                                place->volume);
    };
    std::set<std::string> const standard(o.settings.toolsets.begin(), o.settings.toolsets.end());
    bool const shown = o.settings.servers.expose == "tools" || standard.contains("community") || standard.contains("servers");
    out.shown_to = [shown](mcp::Caller const& caller) {
        if (caller.toolsets.empty()) return shown;
        return caller.toolsets.contains("community") || caller.toolsets.contains("servers");
    };
    return out;
}

}  // namespace

preview::KeepAwake keep_awake(std::string const& setting) {
    if (setting == "never") return preview::KeepAwake::never;
    return setting == "requests" ? preview::KeepAwake::requests : preview::KeepAwake::traffic;
}

preview::Browser::Options browser_options(std::string data_dir, std::string jail_program) {
    return {std::move(data_dir), std::move(jail_program), preview::Browser::find_program()};
}

base::Result<std::unique_ptr<Engine>> Engine::open(asio::io_context& io, EngineOptions options) {
    std::unique_ptr<Engine> e(new Engine(io, std::move(options)));
    auto const& dir = e->options_.data_dir;
    auto const& settings = e->options_.settings;
    if (::geteuid() != 0)
        return base::error(base::errc::denied,
                           "berth's engine needs root (mounts and cgroups): run it with sudo");
    if (auto s = base::sys::mkdir(dir, 0700); !s) return s.error();
    if (::access(dir.c_str(), W_OK) != 0) return base::errno_error("data directory " + dir);
    auto sandboxes_options = sandbox_options(e->options_);
    if (!e->options_.to_end) {
        if (!std::filesystem::is_directory(settings.templates_dir))
            return base::error(base::errc::unavailable,
                               settings.where("templates_dir") + "there are no templates in " + settings.templates_dir + ": " +
                                   how_to_make("base", settings.templates_dir));
        if (auto s = check_templates(settings, sandboxes_options.templates); !s) return s.error();
    }
    auto records = registry::Registry::open(io, dir);
    if (!records) return records.error();
    e->records_ = std::move(*records);
    auto token = token_in(dir + "/token");
    if (!token) return token.error();
    e->token_ = std::move(*token);
    auto sandboxes = sandbox::Sandboxes::open(io, e->pool_, std::move(sandboxes_options));
    if (!sandboxes) return sandboxes.error();
    e->sandboxes_ = std::move(*sandboxes);
    workspace::VolumeStore::Options volumes;
    volumes.directory = dir + "/volumes";
    volumes.default_bytes = settings.limits.disk_bytes;
    auto store = workspace::VolumeStore::open(io, e->pool_, volumes);
    if (!store) return store.error();
    e->volumes_ = std::move(*store);
    sandbox::EgressProxy::Options egress;
    egress.insecure_private_addresses = settings.network.insecure_private_addresses;
    e->egress_ = std::make_unique<sandbox::EgressProxy>(
        io, egress, [records = e->records_.get()](sandbox::EgressProxy::Record const& r) {
            records->audit_lazy(r.workspace_id, r.allowed ? "egress allowed" : "egress refused",
                                {{"host", r.host}, {"port", r.port}, {"reason", r.reason}});
        });
    e->workspaces_ = std::make_unique<workspace::Workspaces>(io, e->pool_, settings, *e->records_,
                                                             *e->sandboxes_, *e->volumes_, *e->egress_);
    auto community = servers::Servers::open(io, e->pool_, servers_options(e->options_, *e->workspaces_), *e->records_,
                                            *e->sandboxes_, *e->egress_);
    if (!community) return community.error();
    e->servers_ = std::move(*community);
    e->transfers_ = std::make_unique<Transfers>(*e->workspaces_, e->pool_);
    e->preview_backend_ = preview::backend_of(*e->workspaces_);
    preview::Options previews;
    previews.allow_public = settings.previews.allow_public;
    previews.domains = settings.previews.domains;
    previews.max_per_preview = settings.previews.max_requests;
    previews.max_per_node = settings.previews.max_requests_total;
    previews.max_held_per_workspace = settings.previews.max_waiting;
    previews.max_held = 8 * settings.previews.max_waiting;
    previews.wake_limit = settings.previews.wake_timeout;
    previews.answer_limit = settings.previews.answer_timeout;
    previews.silence_limit = settings.previews.silence_timeout;
    previews.keep_awake = keep_awake(settings.previews.keep_awake);
    previews.max_per_visitor = (settings.previews.max_requests + 1) / 2;
    e->previews_ = std::make_unique<preview::Previews>(io, *e->records_, *e->preview_backend_, previews);
    e->browser_ = std::make_unique<preview::Browser>(io, e->pool_, browser_options(dir, e->options_.jail_binary));
    e->tools_ = std::make_unique<Tools>(
        Tools{*e->workspaces_, *e->records_, e->pool_, settings, *e->transfers_, *e->previews_, *e->browser_, {}});
    return e;
}

void Engine::fill() {
    if (std::exchange(filling_, true)) return;
    sandboxes_->start_filling();
    volumes_->start_stocking();
}

Task<void> Engine::start(Filling filling) {
    mcp::Features features;
    features.name = "berth";
    features.title = "berth";
    features.version = options_.version;
    features.instructions = kInstructions;
    features.default_toolsets = {options_.settings.toolsets.begin(), options_.settings.toolsets.end()};
    auto key = co_await records_->secret("mcp-state", 32);
    features.state_key = key.value();
    if (options_.settings.servers.expose == "search") features.default_toolsets.insert("search");
    auto transfer_key = co_await records_->secret("transfer", 32);
    transfers_->open(transfer_key.value());
    if (auto opened = co_await previews_->open(); !opened) throw std::runtime_error(opened.error().message());
    for (auto group : {workspace_tools, process_tools, file_tools, transfer_tools, lifecycle_tools, snapshot_tools,
                       preview_tools})
        for (auto& tool : group(*tools_)) {
            if (filling == Filling::at_first_call)
                tool.run = [this, run = std::move(tool.run)](Json arguments, Call& call) {
                    fill();
                    return run(std::move(arguments), call);
                };
            features.tools.push_back(std::move(tool));
        }
    for (auto group : {server_tools, search_tools})
        for (auto& tool : group(*servers_)) features.tools.push_back(std::move(tool));
    for (auto const& tool : features.tools)
        if (!is_toolset(tool.toolset))
            throw std::logic_error(tool.name + " is of the toolset " + tool.toolset + ", which nobody can ask for");
    features.resources = resources(*tools_);
    features.prompts = prompts(*tools_);
    features.complete = completion(*tools_, features.prompts);
    add_servers(features, *servers_);
    auto const standard = features.default_toolsets;
    mcp_ = std::make_unique<mcp::Server>(io_, std::move(features));
    tools_->find_tool = [this, standard](std::string const& name, mcp::Caller caller) {
        // Who has call_tool reaches the servers' tools, listed or not.
        if (mcp_->tool("call_tool", caller)) {
            if (caller.toolsets.empty()) caller.toolsets = standard;
            caller.toolsets.insert("community");
        }
        return mcp_->tool(name, caller);
    };
    announce_changes(*workspaces_, mcp_->hub());
    co_await take_back();
    if (filling == Filling::at_start) fill();
    workspaces_->start_idle_policy();
    co_await servers_->start(mcp_->hub());
    ready_ = true;
}

Task<void> Engine::take_back() {
    auto image_key = co_await records_->secret("images", 32);
    if (auto s = open_images(base::Secret(image_key.value())); !s)
        throw boost::system::system_error(s.error().code, s.error().context);
    co_await browser_->sweep();
    auto const report = co_await workspaces_->recover();
    spdlog::info(
        "recovered: {} workspaces taken back, {} asleep, {} stopped, {} pool sandboxes kept, {} ended, {} leftovers "
        "removed, {} volumes and {} memory images removed",
        report.adopted, report.asleep, report.stopped, report.sandboxes.adopted_to_pool, report.sandboxes.destroyed,
        report.sandboxes.leftovers_removed, report.forgotten_volumes, report.forgotten_images);
}

Task<void> Engine::end_everything() {
    co_await take_back();
    co_await stop(Leaving::nothing);
}

Task<void> Engine::stop(Leaving leaving) {
    ready_ = false;
    if (mcp_) co_await mcp_->stop();
    co_await browser_->stop();
    previews_->stop();
    co_await servers_->stop();
    bool const all = leaving == Leaving::nothing;
    if (leaving == Leaving::what_was_found) {
        co_await workspaces_->shut_down_after_clients(kClientsSleep);
        co_await sandboxes_->stop_without_stock();
    } else {
        co_await workspaces_->shut_down(all);
        co_await sandboxes_->stop(all);
    }
    co_await volumes_->stop(all);
    co_await records_->close();
}

base::Status Engine::open_images(base::Secret key) {
    sandbox::LocalImages local;
    local.directory = options_.data_dir + "/images";
    local.key = std::move(key);
    local.max_bytes = options_.settings.hibernation.disk_bytes;
    if (options_.settings.hibernation.compression == "zstd") local.compression = sandbox::Compression::zstd;
    auto images = sandbox::open_local_images(pool_, std::move(local));
    if (!images) return images.error();
    images_ = std::move(*images);
    workspaces_->use_images(*images_);
    return {};
}

std::string Engine::metrics() const {
    std::string out =
        "# TYPE berth_workspaces gauge\nberth_workspaces " + std::to_string(workspaces_->count()) +
        "\n# TYPE berth_sandboxes gauge\nberth_sandboxes " + std::to_string(sandboxes_->running()) +
        "\n# TYPE berth_boots_total counter\nberth_boots_total " + std::to_string(sandboxes_->boots()) +
        "\n# TYPE berth_boots_failed_total counter\nberth_boots_failed_total " + std::to_string(sandboxes_->failed_boots()) +
        "\n# TYPE berth_pool_ready gauge\n";
    for (auto const& [name, stock] : sandboxes_->stock()) {
        auto const slash = name.find('/');
        auto const runtime = slash == name.npos ? "gvisor" : name.substr(slash + 1);
        out += "berth_pool_ready{template=\"" + name.substr(0, slash) + "\",runtime=\"" + runtime + "\"} " + std::to_string(stock.ready) + "\n";
    }
    out += "# TYPE berth_volumes_ready gauge\nberth_volumes_ready " + std::to_string(volumes_->stocked()) + "\n";
    auto const life = workspaces_->life_counts();
    out += "# TYPE berth_workspaces_by_state gauge\n";
    for (auto const& [state, n] : life.states)
        out += "berth_workspaces_by_state{state=\"" + state + "\"} " + std::to_string(n) + "\n";
    out += "# TYPE berth_workspaces_by_runtime gauge\n";
    for (auto const& [runtime, n] : life.runtimes)
        out += std::string("berth_workspaces_by_runtime{runtime=\"") + sandbox::to_string(runtime) + "\"} " + std::to_string(n) + "\n";
    auto const counter = [&](std::string const& name, std::uint64_t value) {
        out += "# TYPE " + name + " counter\n" + name + " " + std::to_string(value) + "\n";
    };
    counter("berth_hibernations_total", life.hibernated);
    counter("berth_hibernations_refused_total", life.refused);
    counter("berth_wakes_total", life.woken);
    counter("berth_wakes_from_files_total", life.from_files);
    counter("berth_workspaces_stopped_total", life.stopped);
    if (images_) {
        auto const use = images_->use();
        out += "# TYPE berth_image_bytes gauge\nberth_image_bytes " + std::to_string(use.bytes) +
               "\n# TYPE berth_images gauge\nberth_images " + std::to_string(use.images) + "\n";
    }
    return out + previews_->metrics() + servers_->metrics();
}

std::vector<http::Route> Engine::routes(std::function<void(bool)> shut_down) {
    auto text = [](http::Reply& reply, http::Status status, std::string body) -> Task<void> {
        http::Fields fields;
        fields.set("Content-Type", "text/plain; charset=utf-8");
        (void)co_await reply.send(status, std::move(fields), std::move(body));
    };
    std::vector<http::Route> routes = transfers_->routes();
    routes.push_back({"/mcp",
                      {http::Verb::post, http::Verb::get, http::Verb::delete_},
                      http::Access::token,
                      16 << 20,
                      only_toolsets_there_are(mcp_->http_handler())});
    routes.push_back({"/healthz",
                      {http::Verb::get},
                      http::Access::open,
                      0,
                      [text](http::Request, http::Reply& r) -> Task<void> {
                          co_await text(r, http::Status::ok, "ok\n");
                      }});
    routes.push_back({"/readyz",
                      {http::Verb::get},
                      http::Access::open,
                      0,
                      [this, text](http::Request, http::Reply& r) -> Task<void> {
                          co_await text(r, ready_ ? http::Status::ok : http::Status::service_unavailable,
                                        ready_ ? "ready\n" : "starting\n");
                      }});
    routes.push_back({"/metrics",
                      {http::Verb::get},
                      http::Access::token,
                      0,
                      [this, text](http::Request, http::Reply& r) -> Task<void> {
                          co_await text(r, http::Status::ok, metrics());
                      }});
    routes.push_back({"/shutdown",
                      {http::Verb::post},
                      http::Access::local,
                      0,
                      [text, shut_down](http::Request request, http::Reply& r) -> Task<void> {
                          co_await text(r, http::Status::accepted, "stopping\n");
                          shut_down(request.query == "all");
                      }});
    return routes;
}

}  // namespace host
