#include "impl.hpp"
#include <base/ids.hpp>
#include <base/timeout.hpp>
#include <config/minimums.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <signal.h>

namespace workspace {
namespace {

constexpr base::milliseconds kCloneLimit{300'000};
constexpr std::size_t kMaxEnv = 200, kMaxFiles = 500;

template <class T>
Status at_most(T value, T low, T high, std::string const& what) {
    if (value >= low && value <= high) return {};
    return base::error(base::errc::invalid, what);
}

bool variable_name(std::string const& name) {
    return !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
           });
}

std::string quoted(std::string const& word) {
    std::string out = "'";
    for (char const c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

}  // namespace

bool plain_name(std::string const& name) {
    return name.size() <= 63 &&
           std::all_of(name.begin(), name.end(),
                       [](char c) {
                           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                  (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
                       }) &&
           name.front() != '-' && name.front() != '.';
}

Status Workspaces::Impl::permitted_limits(Settings const& s) const {
    auto const& max = config.max_limits;
    auto const range = [](char const* key, std::string const& low, std::string const& high, char const* example) {
        return std::string("limits.") + key + ": expected " + low + " to " + high + ", for example " + example;
    };
    for (auto const& ok : {
             at_most(s.limits.memory_bytes, config::kMinMemoryBytes, max.memory_bytes,
                     range("memory", config::show_size(config::kMinMemoryBytes), config::show_size(max.memory_bytes),
                           "\"512MiB\"")),
             at_most(s.disk_bytes, config::kMinDiskBytes, max.disk_bytes,
                     range("disk", config::show_size(config::kMinDiskBytes), config::show_size(max.disk_bytes), "\"2GiB\"")),
             at_most(s.limits.cpus, config::kMinCpus, max.cpus,
                     range("cpus", config::show_number(config::kMinCpus), config::show_number(max.cpus), "1.5")),
             at_most(s.limits.pids, config::kMinPids, max.pids,
                     range("pids", std::to_string(config::kMinPids), std::to_string(max.pids), "512")),
         })
        if (!ok) return ok.error();
    return {};
}

Status Workspaces::Impl::permitted_hosts(std::vector<std::string> const& allow) const {
    auto policy = sandbox::EgressPolicy::parse(allow);
    if (!policy) return base::wrap(policy.error(), "network.allow");
    auto const& permitted = config.network.max_allow;
    if (!allow.empty() && std::find(permitted.begin(), permitted.end(), "*") == permitted.end()) {
        auto ceiling = sandbox::EgressPolicy::parse(permitted);
        if (!ceiling) return ceiling.error();
        for (auto const& rule : policy->rules)
            for (int const port : rule.port ? std::vector<int>{rule.port} : std::vector<int>{80, 443}) {
                bool const covered =
                    std::any_of(ceiling->rules.begin(), ceiling->rules.end(), [&](auto const& c) {
                        bool const host =
                            rule.subdomains
                                ? c.subdomains && (rule.host == c.host || rule.host.ends_with("." + c.host))
                                : (c.host == rule.host && !c.subdomains) ||
                                      (c.subdomains && rule.host.ends_with("." + c.host));
                        return host && (c.port ? c.port == port : port == 80 || port == 443);
                    });
                if (!covered)
                    return base::error(base::errc::denied,
                                       "network.allow: " + rule.host +
                                           " is outside what the operator permits (network.max_allow)");
            }
    }
    return {};
}

Result<Settings> Workspaces::Impl::settle(CreateRequest const& r) const {
    Settings s;
    s.limits.memory_bytes = r.memory_bytes.value_or(config.limits.memory_bytes);
    s.limits.cpus = r.cpus.value_or(config.limits.cpus);
    s.limits.pids = r.pids.value_or(config.limits.pids);
    s.disk_bytes = r.disk_bytes.value_or(config.limits.disk_bytes);
    s.env = r.env;
    s.allow = r.allow;
    s.idle = r.idle.value_or(
        IdlePolicy{config.idle.freeze_after, config.idle.hibernate_after, config.idle.stop_after, config.idle.keep_alive});
    auto const& native = config.native.templates;
    auto const& image = r.template_name.empty() ? config.default_template : r.template_name;
    bool const preferred = std::find(native.begin(), native.end(), image) != native.end();
    s.runtime = r.runtime.value_or(preferred ? sandbox::RuntimeKind::native : sandbox::RuntimeKind::gvisor);
    if (s.runtime == sandbox::RuntimeKind::native && !config.native.allow)
        return base::error(base::errc::denied, "runtime: native workspaces are not allowed on this server; leave runtime out");
    if (auto ok = permitted_limits(s); !ok) return ok.error();
    for (auto const& ok : {
             at_most(r.env.size(), std::size_t{0}, kMaxEnv, "env: at most 200 variables"),
             at_most(r.files.size(), std::size_t{0}, kMaxFiles,
                     "files: at most 500; put more there with git_url or run_command"),
         })
        if (!ok) return ok.error();
    if (!r.name.empty() && !plain_name(r.name))
        return base::error(
            base::errc::invalid,
            "name: expected letters, digits, '-', '_' and '.', at most 63, for example \"data-analysis\"");
    for (auto const& [name, value] : r.env)
        if (!variable_name(name) || value.find('\0') != value.npos)
            return base::error(
                base::errc::invalid,
                "env: \"" + name +
                    "\" is not a variable name, expected for example {\"API_URL\": \"https://...\"}");
    if (auto ok = permitted_hosts(s.allow); !ok) return ok.error();
    return s;
}

Task<Result<Created>> Workspaces::Impl::create(std::string owner, CreateRequest request,
                                               std::shared_ptr<Caller> caller) {
    using namespace asio::experimental::awaitable_operators;
    auto const begun = base::Clock::now();
    auto settings = settle(request);
    if (!settings) co_return settings.error();
    auto const template_name =
        request.template_name.empty() ? config.default_template : request.template_name;

    // Requests that must not meet their twin look and take their place one by one; what comes after, they do side by side.
    std::optional<Turn::Held> held;
    while (!request.name.empty() || !request.idempotency_key.empty()) {
        auto turn = co_await creating.take();
        held.emplace(std::move(turn));
        Ptr there;
        bool repeat = false;
        if (!request.idempotency_key.empty()) {
            there = find_by(owner, &registry::WorkspaceRecord::idempotency_key, request.idempotency_key);
            if (there && there->record.request_hash != request.request_hash)
                co_return base::error(base::errc::invalid,
                                      "idempotency_key: it was used with other arguments for " +
                                          there->record.id + "; take a new key");
            repeat = there != nullptr;
        }
        if (!there && !request.name.empty())
            there = find_by(owner, &registry::WorkspaceRecord::name, request.name);
        if (!there) break;
        held.reset();
        // Perhaps still being made. When nothing comes of that, this request makes it.
        auto made = co_await there->turn.take();
        if (there->deleted()) continue;
        Created created;
        created.view = view(*there);
        created.existed = true;
        created.repeat = repeat;
        co_return created;
    }
    if (static_cast<int>(table.size()) >= config.max_workspaces)
        co_return base::error(base::errc::busy, "this server holds its most workspaces (" +
                                                    std::to_string(config.max_workspaces) +
                                                    "); delete one with workspace_delete");

    registry::WorkspaceRecord record;
    record.id = "ws-" + base::random_id(16);
    record.name = request.name;
    record.owner = owner;
    record.template_name = template_name;
    record.settings = to_json(*settings);
    record.idempotency_key = request.idempotency_key;
    record.request_hash = request.request_hash;
    record.created_ms = record.active_ms = now_ms();
    auto w = std::make_shared<Workspace>(io.get_executor(), std::move(record));
    auto turn = co_await w->turn.take();
    table.emplace(w->record.id, w);
    w->happens(Event::start);
    held.reset();

    auto [taken, volume] =
        co_await (take(template_name, settings->runtime, kNewSandbox) && volumes.take(w->settings.disk_bytes));
    Status made;
    if (!taken)
        made = taken.error();
    else if (!volume)
        made = volume.error();
    if (volume) w->record.volume = (*volume)->id();
    if (!made && taken) (void)co_await taken->sandbox->destroy();
    bool const warm = taken && taken->warm;
    Created created;
    bool named = false;
    First const first{request, *caller, created.note, named};
    if (made) made = co_await start(w, std::move(*taken), *volume, &first);
    else w->happens(Event::failed);
    if (!made) {
        auto const failed = made.error();
        table.erase(w->record.id);
        w->happens(Event::remove);
        if (volume && !named) (void)co_await volumes.remove(w->record.volume);
        co_return failed;
    }
    w->used();
    created.view = view(*w);
    created.warm = warm;
    created.ready_ms = std::chrono::duration<double, std::milli>(base::Clock::now() - begun).count();
    tell(*w, true);
    co_return created;
}

Task<Status> Workspaces::Impl::furnish(Ptr w, CreateRequest const& request, Caller& caller, std::string& note) {
    if (!request.git_url.empty()) {
        // Only inside: nothing of a repository is read by the host. "--" ends git's options.
        sandbox::ProcessSpec spec;
        spec.id = "p-" + base::random_id(10);
        spec.command = "git clone --depth 1 -- " + quoted(request.git_url) + " . 2>&1";
        spec.wait = kCloneLimit;
        if (caller.gone) co_return base::error(base::errc::cancelled, "the caller went away");
        caller.left = [this, inside = w->sandbox, id = spec.id] {
            auto stop = [](std::shared_ptr<sandbox::Sandbox> in, std::string process) -> Task<void> {
                (void)co_await in->guest().stop(process, SIGKILL, base::milliseconds(0));
            };
            asio::co_spawn(io, stop(inside, id), asio::detached);
        };
        auto cloned = co_await w->sandbox->guest().start(spec);
        caller.left = nullptr;
        if (caller.gone) co_return base::error(base::errc::cancelled, "the caller went away");
        if (!cloned) co_return cloned.error();
        if (cloned->running || cloned->exit_code != 0)
            co_return base::error(base::errc::unavailable,
                                  "git_url: git clone " +
                                      (cloned->running ? std::string("took longer than 5 minutes")
                                                       : "ended with " + std::to_string(cloned->exit_code)) +
                                      ": " + cloned->output.substr(0, 600) +
                                      " (is its host in network.allow?)");
        note = "cloned " + request.git_url;
    }
    if (!request.files.empty()) {
        auto volume = co_await volumes.open_volume(w->record.volume);
        if (!volume) co_return volume.error();
        auto write = [v = *volume, files = request.files]() -> Status {
            for (auto const& [path, content] : files) {
                std::string const relative = path.starts_with("/workspace/") ? path.substr(11) : path;
                if (auto s = v->files().replace(relative, content); !s) return base::wrap(s.error(), "files");
            }
            return {};
        };
        co_return co_await base::blocking(pool, std::move(write));
    }
    co_return Status();
}

}  // namespace workspace
