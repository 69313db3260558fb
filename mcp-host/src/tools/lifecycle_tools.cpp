#include "tools.hpp"

#include <cmath>

namespace host {
namespace {

std::string milliseconds(double ms) { return std::to_string(std::lround(ms)) + " ms"; }

std::string mebibytes(std::uint64_t bytes) {
    auto const tenths = (bytes * 10 + (1 << 19)) >> 20;
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

}  // namespace

Json shown(sandbox::Phases const& phases) {
    Json list = Json::array();
    for (auto const& p : phases) list.push_back({{"phase", p.name}, {"ms", std::round(p.ms * 1000) / 1000}});
    return list;
}

void add_arrival(workspace::Arrival const& arrival, Json& out, std::string& text) {
    if (!arrival.was_away()) return;
    out["fidelity"] = arrival.fidelity;
    if (arrival.fidelity == "memory") return;
    out["fidelity_reason"] = arrival.reason;
    text +=
        "\n[the workspace was started again from its files, without its processes: " + arrival.reason + "]";
}

std::vector<mcp::Tool> lifecycle_tools(Tools& t) {
    using Type = Field::Type;
    std::vector<mcp::Tool> tools;

    tools.push_back(make_tool(
        {.name = "workspace_hibernate",
         .title = "Put a workspace to sleep",
         .description =
             "Save a workspace's memory and processes to disk and end its sandbox. The next call wakes it "
             "exactly as it was.",
         .fields = {workspace_id_field(),
                    {.name = "files_only",
                     .type = Type::boolean,
                     .description = "Give memory and processes up, keep the files"}},
         .output = {{"workspace_id", "string"},
                    {"state", "string"},
                    {"fidelity", "string"},
                    {"was_asleep", "boolean"},
                    {"took_ms", "number"},
                    {"image_bytes", "integer"},
                    {"dropped", {{"type", "array"}, {"items", {{"type", "string"}}}}},
                    {"phases", {{"type", "array"}, {"items", {{"type", "object"}}}}}},
         .hints = {.destructive = true, .idempotent = true},
         .toolset = "lifecycle",
         .may_be_task = true,
         .doing = "writing memory to disk"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            workspace::HibernateRequest request;
            request.files_only = a.boolean("files_only", false);
            auto done =
                co_await t.workspaces.hibernate(call.caller().principal, a.string("workspace_id"), request);
            auto const slept = value_of(std::move(done));
            Json out = {{"workspace_id", slept.view.id}, {"state", slept.view.state},
                        {"fidelity", slept.fidelity},    {"was_asleep", slept.was_asleep},
                        {"took_ms", slept.took_ms},      {"image_bytes", slept.bytes},
                        {"dropped", slept.dropped},      {"phases", shown(slept.phases)}};
            std::string text = slept.view.id + (slept.was_asleep ? " was " : " is ") + slept.view.state;
            text += slept.fidelity == "memory"
                        ? ": it will wake with its memory (" + mebibytes(slept.bytes) + " on disk)."
                        : ": its files are kept, its memory is not.";
            if (!slept.was_asleep) text += " Took " + milliseconds(slept.took_ms) + ".";
            for (auto const& what : slept.dropped) text += "\nDropped: " + what + ".";
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "workspace_wake",
         .title = "Wake a workspace",
         .description =
             "Bring a hibernated or stopped workspace back now; other calls do so by themselves. fidelity is "
             "memory (exactly as it was) or files (started anew; fidelity_reason says why).",
         .fields = {workspace_id_field()},
         .output = {{"workspace_id", "string"},
                    {"state", "string"},
                    {"was_awake", "boolean"},
                    {"fidelity", "string"},
                    {"fidelity_reason", "string"},
                    {"took_ms", "number"},
                    {"image_bytes", "integer"},
                    {"dropped", {{"type", "array"}, {"items", {{"type", "string"}}}}},
                    {"phases", {{"type", "array"}, {"items", {{"type", "object"}}}}}},
         .hints = {.idempotent = true},
         .toolset = "lifecycle",
         .may_be_task = true,
         .doing = "loading memory from disk"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto done = co_await t.workspaces.wake(call.caller().principal, a.string("workspace_id"));
            auto const woken = value_of(std::move(done));
            auto const& arrival = woken.arrival;
            Json out = {{"workspace_id", woken.view.id},
                        {"state", woken.view.state},
                        {"was_awake", !arrival.was_away()},
                        {"took_ms", arrival.took_ms},
                        {"image_bytes", arrival.bytes},
                        {"dropped", arrival.dropped},
                        {"phases", shown(arrival.phases)}};
            std::string text = woken.view.id + " is " + woken.view.state;
            if (!arrival.was_away())
                text += "; it was awake.";
            else if (arrival.fidelity == "memory")
                text += ", exactly as it was, after " + milliseconds(arrival.took_ms) + " (" +
                        mebibytes(arrival.bytes) + " loaded).";
            for (auto const& what : arrival.dropped) text += "\nDropped: " + what + ".";
            add_arrival(arrival, out, text);
            co_return ToolResult::text(std::move(text), std::move(out));
        }));
    return tools;
}

}  // namespace host
