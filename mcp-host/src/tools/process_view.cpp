#include "process_view.hpp"

#include <base/timeout.hpp>

#include <algorithm>

namespace host {
namespace {

using base::Result;
using sandbox::ProcessView;

constexpr base::milliseconds kTick{1'000};
constexpr std::uint64_t kPastEnd = 1ull << 60;
constexpr std::uint64_t kNewestBytes = 2'000;  // enough for a line worth showing
constexpr std::size_t kShownOfLine = 200;

Task<Result<ProcessView>> newest(sandbox::Guest guest, std::string id, std::uint64_t max,
                                 base::milliseconds wait) {
    auto end = co_await guest.read(id, kPastEnd, 1, base::milliseconds(0));
    if (!end) co_return end.error();
    auto const from = end->total_bytes > max ? end->total_bytes - max : 0;
    co_return co_await guest.read(id, from, max, wait);
}

std::string newest_line(std::string_view output) {
    auto const text = plain_text(output);
    std::string_view rest = text;
    while (!rest.empty() && (rest.back() == '\n' || rest.back() == ' ')) rest.remove_suffix(1);
    rest.remove_prefix(rest.rfind('\n') + 1);  // npos + 1 is 0
    return base::to_utf8(rest.substr(0, kShownOfLine));
}

// Until it is cancelled. Never ends by itself: that would end what it accompanies.
Task<void> tell_progress(Call& call, sandbox::Guest guest, std::string id) {
    auto const begun = base::Clock::now();
    for (;;) {
        co_await base::sleep_for(kTick);
        auto const elapsed = std::chrono::duration<double>(base::Clock::now() - begun).count();
        auto read = co_await newest(guest, id, kNewestBytes, base::milliseconds(0));
        auto message = std::to_string(static_cast<long>(elapsed)) + " s";
        if (read)
            if (auto const line = newest_line(read->output); !line.empty()) message += ": " + line;
        call.progress(elapsed, std::nullopt, std::move(message));
    }
}

// What the record still knows.
ProcessView from_record(registry::ProcessRecord const& record, OutputPart const& part) {
    ProcessView p;
    p.id = record.id;
    p.exit_code = record.exit_code;
    p.signal = record.signal;
    p.reason = record.reason.empty() ? "lost" : record.reason;
    p.started_ms = record.started_ms;
    p.ended_ms = record.ended_ms;
    p.total_bytes = record.total_bytes;
    p.offset = std::max(part.offset, record.tail_offset);
    if (part.newest && record.tail.size() > part.max)
        p.offset = record.tail_offset + record.tail.size() - part.max;
    if (p.offset - record.tail_offset < record.tail.size())
        p.output = record.tail.substr(p.offset - record.tail_offset);
    return p;
}

}  // namespace

Task<Result<ProcessView>> with_progress(Call* call, sandbox::Guest guest, std::string process,
                                        Task<Result<ProcessView>> op) {
    if (!call || !call->wants_progress()) co_return co_await std::move(op);
    namespace ax = asio::experimental;
    auto const executor = co_await asio::this_coro::executor;
    auto ticks = tell_progress(*call, std::move(guest), std::move(process));
    auto race = ax::make_parallel_group(asio::co_spawn(executor, std::move(op), asio::deferred),
                                        asio::co_spawn(executor, std::move(ticks), asio::deferred));
    // Both have ended when this resumes, so that the ticks do not outlive the call.
    auto [order, thrown, result, ticks_thrown] =
        co_await race.async_wait(ax::wait_for_one(), asio::use_awaitable);
    if (thrown) std::rethrow_exception(thrown);
    co_return std::move(result);
}

Task<std::vector<int>> ports_of(sandbox::Guest guest, std::string process) {
    std::vector<int> out;
    auto listed = co_await guest.ports(std::move(process));
    if (!listed) co_return out;
    for (auto const& p : *listed)
        if (std::find(out.begin(), out.end(), p.port) == out.end()) out.push_back(p.port);
    co_return out;
}

Task<Result<ProcessLook>> look_at_process(Tools& t, std::string owner, registry::ProcessRecord record,
                                          OutputPart part, Call* waiting) {
    ProcessLook look;
    auto const workspace = t.workspaces.get(owner, record.workspace);
    if (!workspace) co_return workspace.error();
    if (record.generation == workspace->generation && workspace->state != "stopped") {
        auto lease = co_await t.workspaces.awake(owner, record.workspace);
        if (!lease) co_return lease.error();
        look.arrival = lease->arrival();
        auto& guest = lease->guest();
        Task<Result<ProcessView>> read;
        if (part.newest)
            read = newest(guest, record.id, part.max, part.wait);
        else
            read = guest.read(record.id, part.offset, part.max, part.wait);
        auto view = co_await with_progress(waiting, guest, record.id, std::move(read));
        if (view) {
            look.view = std::move(*view);
            t.workspaces.remember(
                workspace::record_of(record.workspace, record.generation, record.command, look.view));
            if (look.view.running) look.ports = co_await ports_of(guest, record.id);
            co_return look;
        }
        if (!base::is(view.error(), base::errc::not_found)) co_return view.error();
        // It went with its sandbox's memory just now; what was kept of it is in the records.
        auto kept = co_await t.workspaces.process(owner, record.id);
        if (kept) record = std::move(*kept);
    }
    look.view = from_record(record, part);
    co_return look;
}

std::string ending_line(ProcessView const& p) {
    if (p.running)
        return "[still running as " + p.id + "; read_process_output waits for more, stop_process ends it]";
    if (p.signal) return "[ended by signal " + std::to_string(p.signal) + " (" + p.reason + ")]";
    return "[exit code " + std::to_string(p.exit_code) + "]";
}

}  // namespace host
