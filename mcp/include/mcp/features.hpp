#pragma once
#include <base/asio.hpp>
#include <base/json.hpp>
#include <base/result.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

// What a server offers, free of eras and transports: one tool layer, which each codec presents in its
// revision's form.
namespace mcp {

using base::Json;
using base::Task;

/// A JSON-RPC error that a handler wants the peer to see as such. Everything else a tool fails with is a
/// ToolResult.
struct RpcError {
    int code = -32603;
    std::string message;
    Json data;  ///< null = absent
};

/// Who calls; on stdio "local". Tasks, listens and sessions are bound to it.
struct Caller {
    std::string principal;
    std::set<std::string> toolsets;  ///< from ?toolsets=a,b; empty = the server's default
};

enum class LogLevel { debug, info, notice, warning, error, critical, alert, emergency };

/// One question of the server to the client's user or model, whichever way the era carries it: a request of
/// our own (legacy) or an input-required round (modern). `method` is elicitation/create,
/// sampling/createMessage or roots/list.
struct Question {
    std::string key;  ///< unique in the call
    std::string method;
    Json params;
};

/// A request being handled. Cancellation arrives as the coroutine's own (terminal): client gone,
/// notifications/cancelled, shutdown. Threads: the I/O thread; lifetime: until the handler's coroutine ends.
class Call {
  public:
    virtual ~Call() = default;
    virtual Caller const& caller() const = 0;
    virtual Json const& client_capabilities() const = 0;  ///< an object: of the session (legacy) or this request (modern)
    virtual bool client_has_extension(std::string_view id) const = 0;
    virtual bool wants_progress() const = 0;  ///< it gave a token; else `progress` costs nothing and says nothing
    /// What the request's _meta holds beside what is the protocol's own, such as traceparent; null = nothing.
    virtual Json meta() const { return nullptr; }
    /// Dropped when the client gave no token, or `progress` does not increase.
    virtual void progress(double progress, std::optional<double> total, std::string message) = 0;
    virtual void log(LogLevel, std::string logger, Json data) = 0;  ///< subject to the client's level
    /// From which level on the client wants messages; nothing = none.
    virtual std::optional<LogLevel> log_level() const { return std::nullopt; }
    /// Tells the client that what an elicitation by URL asked for is done. Good for longer than the call; empty where the
    /// revision has no such notice.
    virtual std::function<void(std::string elicitation_id)> completion_notice() const { return {}; }
    /// Answers to all questions, by key. Modern: when the request does not carry them yet, throws
    /// InputRequired, which the endpoint turns into an input_required result with `state` sealed into
    /// requestState; the client's retry runs the handler from its beginning. Legacy: awaits the client's
    /// answers. errors: -32021 missing capability (modern), the client's own error (legacy).
    virtual Task<std::map<std::string, Json>> ask(std::vector<Question> questions, Json state = nullptr) = 0;
    /// The state given to `ask` in the round before; null in the first round and in legacy calls.
    virtual Json const& state() const = 0;
    virtual bool modern() const = 0;  ///< of 2026-07-28 or later
    /// Ends the response stream under a running legacy call; the client comes back for the rest after `retry`
    /// with Last-Event-ID. Nothing happens where streams cannot be resumed (stdio, modern, clients before
    /// 2025-11-25).
    virtual void close_stream(base::milliseconds retry) { (void)retry; }
};

struct ToolResult {
    Json content = Json::array();  ///< blocks
    Json structured;               ///< null = none
    bool is_error = false;
    Json meta;  ///< null = none
    static ToolResult text(std::string text, Json structured = nullptr);     ///< one text block
    static ToolResult failure(std::string text, Json structured = nullptr);  ///< the same with is_error
};

struct Tool {
    std::string name;
    Json definition;  ///< as in tools/list: name, title, description, inputSchema, outputSchema, annotations,
                      ///< _meta
    std::string toolset = "core";
    bool may_be_task = false;  ///< served as a task when the client names the extension and it takes long
    bool needs_task = false;   ///< refused with -32021 without the extension
    /// `arguments` is an object. Throws RpcError for protocol errors only.
    std::function<Task<ToolResult>(Json arguments, Call&)> run;
};

struct Prompt {
    Json definition;                                       ///< as in prompts/list
    std::function<Task<Json>(Json arguments, Call&)> get;  ///< {description?, messages}
};

/// Tools and prompts that come and go while the program runs, beside the fixed ones of `Features`, which win
/// over one of the same name. Asked anew for each request; what it gave out stays good for as long as it is
/// held. Which of them a caller sees, by toolsets or otherwise, is for the implementation to decide.
class Offers {
  public:
    virtual ~Offers() = default;
    virtual std::vector<std::shared_ptr<Tool const>> tools(Caller const&) const = 0;
    /// Null when there is none, or not for this caller. May know more than `tools` lists.
    virtual std::shared_ptr<Tool const> tool(std::string const& name, Caller const&) const = 0;
    virtual std::vector<std::shared_ptr<Prompt const>> prompts(Caller const&) const = 0;
};

struct Page {
    Json items = Json::array();
    std::string next_cursor;  ///< "" = last page
};

struct Resources {
    std::function<Task<Page>(std::string cursor, Call&)> list;  ///< throws RpcError -32602 for a bad cursor
    std::function<Task<Json>(Call&)> templates;                 ///< array
    std::function<Task<std::optional<Json>>(std::string uri, Call&)>
        read;  ///< `contents` array, or an object with it and `_meta`; nullopt = not found
    std::function<void(std::string const& uri)> watched;  ///< optional: somebody begins to watch this resource
};

struct Completion {
    std::vector<std::string> values;  ///< cut to 100 by the endpoint
    std::optional<std::size_t> total;
    bool has_more = false;
    Json meta;  ///< null = none
};

/// The whole offer. Filled once by the program before the endpoints open; changes later go through `Hub`.
struct Features {
    std::string name, title, version, instructions;
    std::vector<Tool> tools;  ///< presented in this order
    std::set<std::string> default_toolsets{"core"};
    std::optional<Resources> resources;
    std::vector<Prompt> prompts;
    Offers const* more = nullptr;  ///< outlives the server; null = the lists above are all
    std::function<Task<Completion>(Json ref, std::string argument, std::string value, Json context, Call&)>
        complete;
    std::function<void(Caller const&)> roots_changed;  ///< optional: a client says that its roots are others now
    bool logging = true;
    std::string state_key;  ///< seals requestState and cursors; random per data directory
};

/// Change notices from the program to whoever listens, in either era. They queue and return at once. Threads: the I/O thread.
class Hub {
  public:
    virtual ~Hub() = default;
    virtual void tools_changed() = 0;
    virtual void prompts_changed() = 0;
    virtual void resources_changed() = 0;
    virtual void resource_updated(std::string const& uri) = 0;
    virtual bool watched(std::string const& uri) const = 0;  ///< by anybody
};

/// Thrown by handlers and by Call::ask.
struct RpcException : std::exception {
    explicit RpcException(RpcError e) : error(std::move(e)) {}
    char const* what() const noexcept override { return error.message.c_str(); }
    RpcError error;
};

}  // namespace mcp
