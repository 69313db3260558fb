#include "command_tools.hpp"

#include "modules.hpp"
#include <base/hash.hpp>

#include <algorithm>
#include <utility>

namespace host {
namespace {

using base::errc;
using base::error;
using base::Json;
using base::Result;
using mcp::Task;

constexpr char const* kModules = "/run/berth/tools";
constexpr std::size_t kMaxNames = 64, kMaxIdLength = 100;
constexpr std::string_view kCheck = "preview_check";  // by the one browser that everybody shares

// berth's own tools that a command may call. Each has workspace_id, does its work in that workspace alone,
// and leaves the command and its stream as they are.
constexpr std::string_view kOfOneWorkspace[] = {
    "copy_file",      "delete_file",    "edit_file",     "get_preview_url", "get_transfer_url",
    "list_directory", "make_directory", "move_file",     "preview_check",   "read_file",
    "search_files",   "snapshot_list",  "workspace_get", "write_file"};

/// By path inside.
std::vector<std::pair<std::string, std::string_view>> script_modules() {
    std::string const directory = kModules;
    return {{directory + "/berth_tools.py", berth_tools_py()},
            {directory + "/berth_tools.js", berth_tools_js()}};
}

bool is_own(mcp::Tool const& tool) { return tool.toolset != "community"; }

mcp::RpcException refused_with(int code, std::string why) {
    return mcp::RpcException({code, base::to_utf8(why), nullptr});
}

Json to_json(mcp::ToolResult result) {
    Json out{{"content", std::move(result.content)}};
    if (!result.structured.is_null()) out["structuredContent"] = std::move(result.structured);
    if (result.is_error) out["isError"] = true;
    return out;
}

/// A request with an id, or null.
Json request_in(std::string_view line, std::size_t max) {
    base::JsonLimits limits;
    limits.max_bytes = max;
    auto request = base::parse_json(line, limits);
    if (!request || !request->is_object() || request->value("jsonrpc", Json()) != "2.0") return nullptr;
    auto const id = request->value("id", Json());
    bool const named =
        id.is_number_integer() || (id.is_string() && id.get_ref<std::string const&>().size() <= kMaxIdLength);
    if (!named || !request->value("method", Json()).is_string() ||
        !request->value("params", Json()).is_object())
        return nullptr;
    return std::move(*request);
}

}  // namespace

/// Nobody is there who could be told or asked anything: a command's calls are not its caller's conversation.
class CommandTools::Quiet final : public mcp::Call {
  public:
    explicit Quiet(mcp::Caller who) : who_(std::move(who)) {}
    mcp::Caller const& caller() const override { return who_; }
    Json const& client_capabilities() const override { return nothing_; }
    bool client_has_extension(std::string_view) const override { return false; }
    bool wants_progress() const override { return false; }
    void progress(double, std::optional<double>, std::string) override {}
    void log(mcp::LogLevel, std::string, Json) override {}
    Task<std::map<std::string, Json>> ask(std::vector<mcp::Question> questions, Json) override {
        auto const method = questions.empty() ? std::string("a question") : questions.front().method;
        throw refused_with(-32601,
                           method + " is refused: a command called this tool, and nobody can be asked there");
        co_return std::map<std::string, Json>();
    }
    Json const& state() const override { return none_; }
    bool modern() const override { return true; }

  private:
    mcp::Caller const who_;
    Json const nothing_ = Json::object(), none_;
};

CommandTools::CommandTools(asio::any_io_executor executor, Grant grant)
    : executor_(executor),
      grant_(std::move(grant)),
      caller_(std::make_shared<Quiet>(grant_.caller)),
      changed_(executor, asio::steady_timer::time_point::max()) {}

Result<std::shared_ptr<CommandTools>> CommandTools::open(asio::any_io_executor executor, Grant grant) {
    if (grant.tools.size() > kMaxNames)
        return error(errc::invalid, "tools: at most " + std::to_string(kMaxNames) + " for one command");
    for (auto const& name : grant.tools) {
        auto const tool = grant.find(name, grant.caller);
        if (!tool)
            return error(errc::invalid,
                         "tools: there is no tool " + name.substr(0, 100) + " that you may use");
        if (is_own(*tool) && std::find(std::begin(kOfOneWorkspace), std::end(kOfOneWorkspace), name) ==
                                 std::end(kOfOneWorkspace))
            return error(errc::invalid, "tools: " + name + " cannot be called by a command");
        if (tool->needs_task)
            return error(errc::invalid,
                         "tools: " + name + " runs only as a task, which a command cannot follow");
    }
    return std::shared_ptr<CommandTools>(new CommandTools(std::move(executor), std::move(grant)));
}

Task<Result<sandbox::ProcessView>> CommandTools::run(std::shared_ptr<CommandTools> self, sandbox::Guest guest,
                                                     sandbox::ProcessSpec spec) {
    struct Ending {
        CommandTools& tools;
        ~Ending() { tools.end(); }
    } const ending{*self};
    auto const modules = script_modules();
    for (auto const& [path, module] : modules) {
        auto const there = co_await guest.read_file(path, module.size());
        if (there && *there == module) continue;
        std::string text(module);
        auto const written = co_await guest.write_file(path, std::move(text), true);
        if (!written) co_return base::wrap(written.error(), "put the modules for tools into the workspace");
    }
    spec.env["BERTH_TOOLS_FD"] = std::to_string(sandbox::Guest::kSideStream);
    for (auto const* variable : {"PYTHONPATH", "NODE_PATH"}) spec.path_env[variable] = kModules;
    auto const id = spec.id;
    auto const limit = spec.wait;
    auto const max_output = spec.max_output;
    auto stream = co_await guest.start_with_side_stream(std::move(spec));
    if (!stream) co_return stream.error();
    self->serve(std::move(*stream));
    auto view = co_await guest.wait(id, limit, max_output);
    co_return view;
}

void CommandTools::serve(std::unique_ptr<base::ByteStream> stream) {
    stream_ = std::move(stream);
    asio::co_spawn(executor_, read(shared_from_this()), asio::detached);
}

void CommandTools::end() {
    if (std::exchange(over_, true)) return;
    // Once, and before anything lets them end by themselves: Boost 1.81 hands the signal on by a bare pointer.
    auto const all = under_way_;
    for (auto const& one : all) one->emit(asio::cancellation_type::terminal);
    stream_.reset();
    changed_.cancel();
}

void CommandTools::stop(std::string why) {
    if (stream_) stopped_ = std::move(why);
    end();
}

std::string CommandTools::summary() const {
    auto text = std::to_string(calls_) + (calls_ == 1 ? " tool call" : " tool calls");
    if (failed_ > 0) text += ", " + std::to_string(failed_) + " failed";
    if (!stopped_.empty()) text += "; its tools ended early: " + stopped_;
    return text;
}

Task<void> CommandTools::changed() { co_await changed_.async_wait(base::as_tuple); }

Task<void> CommandTools::read(std::shared_ptr<CommandTools> self) {
    auto const& limits = self->grant_.limits;
    std::string received;
    std::vector<char> chunk(16 * 1024);
    std::uint64_t requests = 0;
    while (self->stream_) {
        auto const end = received.find('\n');
        if (end > limits.request_bytes && received.size() > limits.request_bytes) {
            self->stop("a request was longer than " + std::to_string(limits.request_bytes) + " bytes");
        } else if (end == received.npos) {
            auto const got = co_await self->stream_->read_some(asio::buffer(chunk));
            if (!got && base::is(got.error(), errc::busy)) self->stop("the workspace was put to sleep or copied");
            if (!got || *got == 0) co_return;
            received.append(chunk.data(), *got);
        } else if (self->under_way_.size() >= limits.at_once) {
            co_await self->changed();
        } else if (++requests > limits.calls) {
            self->stop("it made more than " + std::to_string(limits.calls) + " requests");
        } else if ((self->bytes_ += end) > limits.bytes) {
            self->stop("more than " + std::to_string(limits.bytes) + " bytes crossed");
        } else {
            auto request = request_in(std::string_view(received).substr(0, end), limits.request_bytes);
            received.erase(0, end + 1);
            if (request.is_null()) {
                self->stop("what it wrote to its tools was no request");
                continue;
            }
            auto const signal = std::make_shared<asio::cancellation_signal>();
            auto const at = self->under_way_.insert(self->under_way_.end(), signal);
            auto done = [self, signal, at](std::exception_ptr) {
                self->under_way_.erase(at);
                self->changed_.cancel();
            };
            asio::co_spawn(self->executor_, handle(self, std::move(request)),
                           asio::bind_cancellation_slot(signal->slot(), std::move(done)));
        }
    }
}

Task<void> CommandTools::handle(std::shared_ptr<CommandTools> self, Json request) {
    co_await asio::post(self->executor_,
                        asio::use_awaitable);  // with a slot, it may not end before it was suspended
    Json message{{"jsonrpc", "2.0"}, {"id", request["id"]}};
    auto const method = request["method"].get<std::string>();
    Json failed;
    try {
        if (method == "tools/call") {
            auto const bytes = base::dump(request["params"]).size();
            auto result = co_await self->call(std::move(request["params"]), bytes);
            message["result"] = std::move(result);
        } else if (method == "tools/list") {
            message["result"] = self->list();
        } else {
            throw refused_with(-32601, "a command can use tools/list and tools/call alone");
        }
    } catch (mcp::RpcException const& e) {
        failed = {{"code", e.error.code}, {"message", e.error.message}};
    } catch (std::exception const&) {
        failed = {{"code", -32603}, {"message", "Internal error"}};
    }
    if (!failed.is_null()) message["error"] = std::move(failed);
    co_await self->answer(std::move(message));
}

Json CommandTools::list() const {
    auto tools = Json::array();
    for (auto const& name : grant_.tools)
        if (auto const tool = grant_.find(name, grant_.caller)) tools.push_back(tool->definition);
    return {{"tools", std::move(tools)}};
}

Task<Json> CommandTools::call(Json params, std::size_t bytes) {
    auto const began = base::Clock::now();
    auto const name =
        params.value("name", Json()).is_string() ? params["name"].get<std::string>() : std::string();
    auto arguments = params.value("arguments", Json::object());
    Json audit{{"command", grant_.command},
               {"who", grant_.caller.principal},
               {"tool", name.substr(0, 128)},
               {"request_bytes", bytes}};
    struct Book {  // also when it is cancelled
        CommandTools& tools;
        Json& line;
        bool good = false;
        ~Book() {
            if (!good) ++tools.failed_, line["failed"] = true;
            tools.grant_.audit(std::move(line));
        }
    } book{*this, audit};
    ++calls_;
    auto const refuse = [&](int code, std::string why) {
        audit["refused"] = true;
        return refused_with(code, std::move(why));
    };
    if (!grant_.tools.contains(name))
        throw refuse(-32602,
                     name.substr(0, 128) + " is not among the tools that run_command gave this command");
    if (!arguments.is_object()) throw refuse(-32602, "arguments is an object");
    auto const tool = grant_.find(name, grant_.caller);
    if (!tool) throw refuse(-32602, name + " is no longer there");
    if (is_own(*tool)) {
        if (auto const it = arguments.find("workspace_id"); it != arguments.end() && *it != grant_.workspace)
            throw refuse(
                -32602,
                name + " works on this workspace alone when a command calls it: leave workspace_id out");
        arguments["workspace_id"] = grant_.workspace;
    }
    audit["arguments_sha256"] = base::sha256_hex(base::dump(arguments));
    struct Checking {
        CommandTools& tools;
        bool mine = false;
        ~Checking() {
            if (!mine) return;
            tools.checking_ = false;
            tools.changed_.cancel();
        }
    } checking{*this};
    if (name == kCheck) {
        while (checking_ && !over_) co_await changed();
        if (over_) throw refused_with(-32603, "the tools of this command have ended");
        checking_ = checking.mine = true;
    }
    auto result = co_await tool->run(std::move(arguments), *caller_);
    audit["ms"] = std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - began).count();
    book.good = !result.is_error;
    co_return to_json(std::move(result));
}

Task<void> CommandTools::answer(Json message) {
    auto text = base::dump(message);
    if (text.size() > grant_.limits.answer_bytes) {
        auto const why = "the answer has " + std::to_string(text.size()) +
                         " bytes, of which a command gets at most " +
                         std::to_string(grant_.limits.answer_bytes) + ": ask for less at once";
        text = base::dump(
            {{"jsonrpc", "2.0"}, {"id", message["id"]}, {"error", {{"code", -32603}, {"message", why}}}});
    }
    text += '\n';
    while (stream_ && writing_) co_await changed();
    if (!stream_) co_return;
    if ((bytes_ += text.size()) > grant_.limits.bytes)
        co_return stop("more than " + std::to_string(grant_.limits.bytes) + " bytes crossed");
    struct Writing {
        CommandTools& tools;
        explicit Writing(CommandTools& t) : tools(t) { tools.writing_ = true; }
        ~Writing() {
            tools.writing_ = false;
            tools.changed_.cancel();
        }
    } const writing(*this);
    (void)co_await stream_->write(asio::buffer(text));
}

}  // namespace host
