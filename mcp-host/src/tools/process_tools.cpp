#include "command_tools.hpp"
#include "process_view.hpp"
#include <base/ids.hpp>

#include <signal.h>

#include <algorithm>
#include <charconv>

namespace host {
namespace {

constexpr std::int64_t kMaxWait = 3'600'000;
constexpr std::size_t kDefaultOutput = 12'000;
constexpr int kMaxTerminal = 1'000;  // columns, and rows

Json const kProcess = {
    {"process_id", "string"},   {"state", "string"},
    {"exit_code", "integer"},   {"signal", "integer"},
    {"reason", "string"},       {"duration_ms", "integer"},
    {"output", "string"},       {"truncated", "boolean"},
    {"total_bytes", "integer"}, {"output_path", "string"},
    {"cursor", "integer"},      {"new_ports", {{"type", "array"}, {"items", {{"type", "integer"}}}}},
    {"tool_calls", "integer"},
    {"fidelity", "string"},     {"fidelity_reason", "string"}};

Json structured(sandbox::ProcessView const& p, std::string output) {
    Json j = {{"process_id", p.id},
              {"state", p.running ? "running" : "exited"},
              {"output", std::move(output)},
              {"total_bytes", p.total_bytes},
              {"reason", p.running ? "timeout" : p.reason},
              {"truncated", !p.tail.empty()}};
    if (!p.running && p.signal == 0) j["exit_code"] = p.exit_code;
    if (p.signal) j["signal"] = p.signal;
    if (!p.running) j["duration_ms"] = p.ended_ms - p.started_ms;
    if (!p.output_path.empty()) j["output_path"] = p.output_path;
    return j;
}

std::string joined(std::string text, std::string const& last) {
    if (!text.empty() && text.back() != '\n') text += '\n';
    return text + last;
}

// What the command began to listen on.
void add_ports(std::vector<int> const& ports, Json& out, std::string& text) {
    if (ports.empty()) return;
    out["new_ports"] = ports;
    text = joined(std::move(text), "[listening on port");
    for (auto const port : ports) text += (port == ports.front() ? " " : ", ") + std::to_string(port);
    text += "]";
}

/// The tools that a command asks for; null when it asks for none.
std::shared_ptr<CommandTools> tools_for(Tools& t, Arguments const& a, mcp::Caller const& caller, std::string const& workspace,
                                        std::string const& command) {
    Grant grant;
    for (auto& name : a.strings("tools")) grant.tools.insert(std::move(name));
    if (grant.tools.empty()) return nullptr;
    if (a.boolean("background", false))
        throw ToolFailure("tools end with this call, so a command in the background cannot have any: leave background or tools out");
    grant.caller = caller;
    grant.workspace = workspace;
    grant.command = command;
    grant.find = t.find_tool;
    grant.audit = [&records = t.records, workspace](Json line) { records.audit_lazy(workspace, "tool call by a command", std::move(line)); };
    return value_of(CommandTools::open(t.workspaces.executor(), std::move(grant)));
}

// What a command called, in the answer that ends it.
void add_calls(CommandTools const& tools, bool running, Json& out, std::string& text) {
    out["tool_calls"] = tools.calls();
    text = joined(std::move(text), "[" + tools.summary() + (running ? "; it goes on without its tools]" : "]"));
}

// The sandbox ended under a command: what is left, and what to do.
std::string after_death(sandbox::Death const& death) {
    std::string text = ". Files are kept; all processes and /tmp are gone. The next call starts the workspace again";
    if (death.reason == sandbox::Death::Reason::oom)
        text += "; for more memory make a new one with limits.memory, for example {\"memory\": \"4GiB\"}";
    return text + ".";
}

struct Size {
    int columns, rows;
};
// "120x40" of the argument `size`.
std::optional<Size> size_from(Arguments const& a) {
    if (!a.has("size")) return std::nullopt;
    auto const text = a.string("size");
    auto const cross = text.find('x');
    auto const number = [](std::string_view digits) {
        int value = 0;
        auto const [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return ec == std::errc() && end == digits.data() + digits.size() && value <= kMaxTerminal ? value : 0;
    };
    auto const all = std::string_view(text);
    Size const size{number(all.substr(0, cross)), cross == all.npos ? 0 : number(all.substr(cross + 1))};
    if (size.columns < 1 || size.rows < 1)
        throw BadArgument("size: expected columns x rows, each up to " + std::to_string(kMaxTerminal) + ", for example \"120x40\"");
    return size;
}

int signal_number(std::string const& name) {
    static std::map<std::string, int> const known{{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT},
                                                  {"HUP", SIGHUP},   {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
                                                  {"USR2", SIGUSR2}};
    return known.at(name);
}

}  // namespace

std::vector<mcp::Tool> process_tools(Tools& t) {
    using Type = Field::Type;
    using workspace::record_of;
    std::vector<mcp::Tool> tools;
    Field const process_id{.name = "process_id",
                           .description = "From run_command",
                           .required = true,
                           .example = "p-...",
                           .max_length = 100};

    tools.push_back(make_tool(
        {.name = "run_command",
         .title = "Run a command",
         .description = "Run a shell command in a workspace (bash, cwd /workspace). After timeout_ms it goes "
                        "on in the background and "
                        "process_id reads it. Long output keeps head and tail. More memory than the "
                        "limit ends all that runs; files stay.",
         .fields =
             {workspace_id_field(),
              {.name = "command", .required = true, .example = "python3 main.py", .max_length = 256 * 1024},
              {.name = "cwd",
               .description = "Default /workspace",
               .example = "/workspace/src",
               .aliases = {"working_dir"}, .max_length = 4096},
              {.name = "env", .type = Type::string_map, .example = {{"DEBUG", "1"}}},
              {.name = "stdin",
               .description = "Given to the command, then end of file",
               .max_length = 4 << 20},
              {.name = "timeout_ms",
               .type = Type::integer,
               .description = "Default 50000",
               .example = 50000,
               .minimum = 0,
               .maximum = kMaxWait},
              {.name = "background", .type = Type::boolean, .description = "Answer at once, keep stdin open"},
              {.name = "pty", .type = Type::boolean, .description = "Give it a terminal"},
              {.name = "size", .description = "Of the terminal, as 120x40", .example = "120x40"},
              {.name = "keep_alive",
               .type = Type::boolean,
               .description = "No hibernation while it runs"},
              {.name = "tools",
               .type = Type::strings,
               .description = "Tools that the command may call itself while you wait: Python berth_tools.call(name, {...}), Node "
                              "await require('berth_tools').call(name, {...}). Their answers go to it, not to you",
               .example = Json::array({"github__list_issues"})},
              {.name = "max_output_chars",
               .type = Type::integer,
               .example = 12000,
               .minimum = 100,
               .maximum = 60'000}},
         .output = kProcess,
         .hints = {.destructive = true, .open_world = true},
         .may_be_task = true,
         .doing = "waking the workspace"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto awake = co_await t.workspaces.awake(call.caller().principal, a.string("workspace_id"));
            auto lease = value_of(std::move(awake));
            sandbox::ProcessSpec spec;
            spec.id = "p-" + base::random_id(16);
            spec.command = a.string("command");
            auto const cwd = a.string("cwd", "/workspace");
            spec.cwd = cwd.starts_with("/") ? cwd : "/workspace/" + cwd;
            spec.env = a.string_map("env");
            spec.pty = a.boolean("pty", false);
            if (auto const size = size_from(a)) {
                if (!spec.pty) throw BadArgument("size: is of a terminal; pass pty: true with it");
                spec.columns = size->columns;
                spec.rows = size->rows;
            }
            spec.stdin_bytes = a.string("stdin");
            bool const background = a.boolean("background", false);
            spec.stdin_open = background || spec.pty;
            spec.wait = base::milliseconds(background ? 0 : a.integer("timeout_ms", 50'000));
            spec.max_output = static_cast<std::size_t>(a.integer("max_output_chars", kDefaultOutput));
            auto const granted = tools_for(t, a, call.caller(), lease.id(), spec.id);
            // Recorded before it exists: after a crash the guest is asked what became of it.
            sandbox::ProcessView about_to;
            about_to.id = spec.id;
            about_to.running = true;
            auto first = record_of(lease.id(), lease.generation(), spec.command, about_to);
            first.keep_alive = a.boolean("keep_alive", false);
            first.background = background;
            t.workspaces.remember(std::move(first));
            bool finished = false;
            struct StopOnCancel {  // the caller went away while it waited: the work inside ends too
                Tools& tools;
                std::string owner, workspace, process;
                bool& done;
                ~StopOnCancel() {
                    if (done) return;
                    auto stop = [](Tools& ts, std::string o, std::string w, std::string p) -> Task<void> {
                        auto again = co_await ts.workspaces.awake(o, w);
                        if (again) (void)co_await again->guest().stop(p, SIGTERM, base::milliseconds(2'000));
                    };
                    asio::co_spawn(tools.workspaces.executor(), stop(tools, owner, workspace, process),
                                   asio::detached);
                }
            } guard{t, call.caller().principal, lease.id(), spec.id, finished};
            auto const id = spec.id;
            auto const command = spec.command;
            auto starting = granted ? CommandTools::run(granted, lease.guest(), std::move(spec)) : lease.guest().start(std::move(spec));
            auto started = co_await with_progress(&call, lease.guest(), id, std::move(starting));
            finished = started || !base::is(started.error(), base::errc::cancelled);
            if (!started) {
                if (!finished) throw ToolFailure(started.error());
                about_to.running = false;
                about_to.reason = "lost";
                t.workspaces.remember(record_of(lease.id(), lease.generation(), command, about_to));
                if (lease.sandbox().alive()) throw ToolFailure(started.error());
                throw ToolFailure(started.error().message() + after_death(lease.sandbox().death()));
            }
            auto known = record_of(lease.id(), lease.generation(), command, *started);
            known.background = started->running;  // from here on nobody waits for it
            t.workspaces.remember(std::move(known));
            std::string text = plain_text(started->output);
            if (!started->tail.empty()) {
                auto const cut = started->total_bytes - started->output.size() - started->tail.size();
                text = joined(std::move(text), "[... " + std::to_string(cut) + " bytes cut" +
                                                   (started->output_path.empty()
                                                        ? ""
                                                        : "; all of it is in " + started->output_path) +
                                                   " ...]\n") +
                       plain_text(started->tail);
            }
            Json out = structured(*started, text);
            if (background && started->running) out["reason"] = "background";
            // A look of its own, which only a command that went on for its whole wait can afford.
            if (started->running && !background) {
                auto const ports = co_await ports_of(lease.guest(), id);
                add_ports(ports, out, text);
            }
            if (granted) add_calls(*granted, started->running, out, text);
            std::string shown = joined(std::move(text), ending_line(*started));
            add_arrival(lease.arrival(), out, shown);
            co_return ToolResult::text(std::move(shown), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "read_process_output",
         .title = "Read a process's output",
         .description = "Output of a command from cursor on; waits up to wait_ms for something new or the "
                        "end. Works after the exit too.",
         .fields =
             {process_id,
              {.name = "cursor",
               .type = Type::integer,
               .description = "Byte offset; from the last answer",
               .example = 0,
               .minimum = 0,
               .maximum = 1e15},
              {.name = "wait_ms", .type = Type::integer, .example = 10000, .minimum = 0, .maximum = 50'000},
              {.name = "tail_lines",
               .type = Type::integer,
               .description = "Only the last lines",
               .example = 50,
               .minimum = 1,
               .maximum = 5000},
              {.name = "grep", .description = "Only lines that contain this text", .max_length = 500}},
         .output = kProcess,
         .hints = {.read_only = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto found = co_await t.workspaces.process(call.caller().principal, a.string("process_id"));
            auto record = value_of(std::move(found));
            auto const tail_lines = a.integer("tail_lines", 0);
            OutputPart part;
            part.offset = static_cast<std::uint64_t>(a.integer("cursor", 0));
            part.newest = tail_lines > 0;
            if (part.newest) part.max = 256 * 1024;
            part.wait = base::milliseconds(a.integer("wait_ms", 0));
            auto looked =
                co_await look_at_process(t, call.caller().principal, std::move(record), part, &call);
            auto const look = value_of(std::move(looked));
            auto const& p = look.view;
            auto const next = p.offset + p.output.size();
            std::string text = plain_text(p.output);
            if (auto const needle = a.string("grep"); !needle.empty() || tail_lines) {
                std::vector<std::string_view> lines;
                for (std::string_view rest = text; !rest.empty();) {
                    auto const end = rest.find('\n');
                    auto const line = rest.substr(0, end);
                    rest = end == rest.npos ? std::string_view{} : rest.substr(end + 1);
                    if (needle.empty() || line.find(needle) != line.npos) lines.push_back(line);
                }
                std::string kept;
                auto const from = tail_lines && lines.size() > static_cast<std::size_t>(tail_lines)
                                      ? lines.size() - static_cast<std::size_t>(tail_lines)
                                      : 0;
                for (auto i = from; i < lines.size(); ++i) kept += std::string(lines[i]) + "\n";
                text = std::move(kept);
            }
            Json out = structured(p, text);
            if (p.running) out["reason"] = "running";
            out["cursor"] = next;
            add_ports(look.ports, out, text);
            text = joined(std::move(text), ending_line(p));
            add_arrival(look.arrival, out, text);
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "send_process_input",
         .title = "Type into a process",
         .description = "Write to a background or pty command's stdin. End a line with \\n. Answers with "
                        "what it wrote within wait_ms.",
         .fields =
             {process_id,
              {.name = "input", .required = true, .example = "print(1)\n", .max_length = 1 << 20},
              {.name = "eof", .type = Type::boolean, .description = "Close stdin afterwards"},
              {.name = "size", .description = "Resize its terminal first", .example = "120x40"},
              {.name = "wait_ms", .type = Type::integer, .example = 500, .minimum = 0, .maximum = 50'000}},
         .output = kProcess,
         .hints = {.destructive = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto const size = size_from(a);
            auto found = co_await t.workspaces.process(call.caller().principal, a.string("process_id"));
            auto record = value_of(std::move(found));
            auto awake = co_await t.workspaces.awake(call.caller().principal, record.workspace);
            auto lease = value_of(std::move(awake));
            auto before = co_await lease.guest().read(record.id, 1ull << 60, 1, base::milliseconds(0));
            auto const from = value_of(std::move(before)).total_bytes;
            if (size) {
                auto resized = co_await lease.guest().resize(record.id, size->columns, size->rows);
                require(resized);
            }
            auto input = a.string("input");
            if (bool const eof = a.boolean("eof", false); eof || !input.empty()) {
                auto sent = co_await lease.guest().input(record.id, std::move(input), eof);
                require(sent);
            }
            auto read = co_await lease.guest().read(record.id, from, 12'000,
                                                    base::milliseconds(a.integer("wait_ms", 500)));
            auto p = value_of(std::move(read));
            auto text = plain_text(p.output);
            Json out = structured(p, text);
            if (p.running) out["reason"] = "running";
            out["cursor"] = p.offset + p.output.size();
            text = joined(std::move(text), ending_line(p));
            add_arrival(lease.arrival(), out, text);
            co_return ToolResult::text(std::move(text), std::move(out));
        }));

    tools.push_back(make_tool(
        {.name = "stop_process",
         .title = "Stop a process",
         .description = "Signal a command and everything it started; what is left after grace_ms is killed.",
         .fields =
             {process_id,
              {.name = "signal",
               .example = "TERM",
               .values = {"TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2"}},
              {.name = "grace_ms", .type = Type::integer, .example = 3000, .minimum = 0, .maximum = 60'000}},
         .output = kProcess,
         .hints = {.destructive = true, .idempotent = true}},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            auto found = co_await t.workspaces.process(call.caller().principal, a.string("process_id"));
            auto record = value_of(std::move(found));
            auto awake = co_await t.workspaces.awake(call.caller().principal, record.workspace);
            auto lease = value_of(std::move(awake));
            auto stopped = co_await lease.guest().stop(record.id, signal_number(a.string("signal", "TERM")),
                                                       base::milliseconds(a.integer("grace_ms", 3000)));
            auto p = value_of(std::move(stopped));
            t.workspaces.remember(record_of(record.workspace, record.generation, record.command, p));
            Json out = structured(p, "");
            co_return ToolResult::text(ending_line(p), std::move(out));
        }));
    return tools;
}

}  // namespace host
