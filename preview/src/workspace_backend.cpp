#include "crash.hpp"

#include <algorithm>
#include <map>
#include <preview/workspace_backend.hpp>

namespace preview {
namespace {

constexpr std::int64_t kRecentMs = 6 * 3'600'000;  ///< a crash before that explains nothing
constexpr std::uint64_t kLastWords = 4'000;
constexpr std::size_t kCommandsLooked = 200;

std::int64_t clock_ms() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::string reason_of(sandbox::ProcessView const& p) {
    if (p.reason == "oom") return "out of memory";
    if (p.signal != 0) return "signal " + std::to_string(p.signal);
    return "exit code " + std::to_string(p.exit_code);
}

std::string last_lines(std::string const& output, int lines) {
    auto end = output.find_last_not_of("\r\n");
    if (end == output.npos) return "";
    auto from = end;
    while (from != output.npos && lines > 0) {
        from = from == 0 ? output.npos : output.rfind('\n', from - 1);
        --lines;
    }
    auto const start = from == output.npos ? 0 : from + 1;
    return output.substr(start, end + 1 - start);
}

}  // namespace

std::optional<sandbox::ProcessView> explaining_crash(std::vector<sandbox::ProcessView> const& seen,
                                                     std::vector<registry::ProcessRecord> const& records,
                                                     std::int64_t now_ms) {
    std::map<std::string, registry::ProcessRecord const*> by_id;
    std::map<std::string, std::int64_t> begun;  ///< when each command was last begun
    for (auto const& r : records) by_id[r.id] = &r;
    for (auto const& p : seen)
        if (auto const r = by_id.find(p.id); r != by_id.end())
            begun[r->second->command] = std::max(begun[r->second->command], p.started_ms);
    std::optional<sandbox::ProcessView> newest;
    for (auto const& p : seen) {
        bool const failed = !p.running && p.reason != "killed" && (p.exit_code > 0 || p.signal != 0);
        auto const r = by_id.find(p.id);
        if (!failed || p.ended_ms <= now_ms - kRecentMs || r == by_id.end() || !r->second->background) continue;
        if (begun[r->second->command] > p.started_ms) continue;  // its next run tells
        if (!newest || p.ended_ms > newest->ended_ms) newest = p;
    }
    return newest;
}

namespace {

class AwakeWorkspace final : public Awake {
  public:
    AwakeWorkspace(workspace::Workspaces& all, std::string owner, workspace::Lease lease)
        : workspaces_(all), owner_(std::move(owner)), lease_(std::move(lease)) {}

    bool restarted() const override {
        // Not how this call found it: it may have been another one that brought it back.
        auto const view = workspaces_.get(owner_, lease_.id());
        return view && view->fidelity == "files";
    }
    std::uint64_t generation() const override { return lease_.generation(); }

    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(int port) override {
        co_return co_await lease_.guest().connect(port);
    }

    base::Task<base::Result<std::vector<Listener>>> listeners() override {
        auto found = co_await lease_.guest().ports();
        if (!found) co_return found.error();
        std::vector<Listener> out;
        for (auto const& p : *found)
            if (p.port != sandbox::Guest::kProxyPort) out.push_back({p.port, p.address, p.program});
        std::sort(out.begin(), out.end(),
                  [](Listener const& a, Listener const& b) { return a.port < b.port; });
        co_return out;
    }

    base::Task<std::optional<base::milliseconds>> youngest() override {
        auto known = co_await lease_.guest().processes();
        if (!known) co_return std::nullopt;
        std::optional<std::int64_t> newest;
        for (auto const& p : *known)
            if (p.running) newest = std::max(newest.value_or(0), p.started_ms);
        if (!newest) co_return std::nullopt;
        co_return base::milliseconds(std::max<std::int64_t>(0, clock_ms() - *newest));
    }

    base::Task<std::optional<Crash>> last_crash() override {
        auto known = co_await lease_.guest().processes();
        if (!known) co_return std::nullopt;
        auto records = co_await workspaces_.processes(owner_, lease_.id(), kCommandsLooked);
        if (!records) co_return std::nullopt;
        auto const newest = explaining_crash(*known, *records, clock_ms());
        if (!newest) co_return std::nullopt;
        Crash crash;
        crash.reason = reason_of(*newest);
        auto const from = newest->total_bytes > kLastWords ? newest->total_bytes - kLastWords : 0;
        auto tail = co_await lease_.guest().read(newest->id, from, kLastWords, base::milliseconds(0));
        if (tail) crash.output = last_lines(tail->output, 20);
        for (auto const& r : *records)
            if (r.id == newest->id) crash.command = r.command;
        co_return crash;
    }

  private:
    workspace::Workspaces& workspaces_;
    std::string owner_;
    workspace::Lease lease_;
};

class WorkspaceBackend final : public Backend {
  public:
    explicit WorkspaceBackend(workspace::Workspaces& all) : workspaces_(all) {}

    State state(std::string const& owner, std::string const& id) const override {
        auto const view = workspaces_.get(owner, id);
        if (!view || view->state == "deleting") return State::unknown;
        return view->state == "running" || view->state == "frozen" ? State::awake : State::asleep;
    }
    std::optional<std::string> id_of(std::string const& owner, std::string const& id) const override {
        auto const view = workspaces_.get(owner, id);
        if (!view) return std::nullopt;
        return view->id;
    }
    base::Task<base::Result<std::unique_ptr<Awake>>> awake(std::string owner, std::string id) override {
        auto lease = co_await workspaces_.awake(owner, id);
        if (!lease) co_return lease.error();
        std::unique_ptr<Awake> made =
            std::make_unique<AwakeWorkspace>(workspaces_, std::move(owner), std::move(*lease));
        co_return made;
    }

  private:
    workspace::Workspaces& workspaces_;
};

}  // namespace

std::unique_ptr<Backend> backend_of(workspace::Workspaces& workspaces) {
    return std::make_unique<WorkspaceBackend>(workspaces);
}

}  // namespace preview
