#pragma once
#include <base/asio.hpp>
#include <base/byte_stream.hpp>
#include <base/ids.hpp>
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <mcp/features.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// A connection to one MCP server, of either era, on lines (stdio) or HTTP. The server is hostile: whatever it
// writes is parsed under limits, and what breaks the protocol fails this connection with a reason, and
// nothing else.
namespace mcp {

enum class Era { legacy, modern };  ///< initialize (2025-11-25 and before), per-request _meta (2026-07-28)

/// Over owned descriptors that can be polled (pipes, a socket; the two may be the same file): a plain child's
/// ends.
std::unique_ptr<base::ByteStream> descriptor_stream(asio::any_io_executor, base::UniqueFd from_server,
                                              base::UniqueFd to_server);

/// Why a request has no result. Exactly one of the two is the story:
/// the server's own answer (`rpc`, with code, message and data unaltered), or a failure on this side
/// (`error`).
struct Failure {
    /// errc::unavailable: the connection failed or is not open; errc::timed_out; errc::cancelled: by the
    /// caller; errc::busy: max_in_flight, nothing was sent; errc::invalid: the answer has the wrong shape;
    /// errc::denied: the server wants (other) credentials; errc::limit: too many pages or rounds.
    base::Error error;
    std::optional<RpcError> rpc;
    bool may_have_run = false;  ///< it was (partly) sent: never send it again on your own
};
[[noreturn]] void throw_exception_from_error(Failure const&, boost::source_location const&);
Failure failure(base::errc, std::string context, bool may_have_run = false);  ///< one of this side
std::string to_string(Failure const&);  ///< one sentence, for logs and tool errors

template <class T>
using Outcome = boost::system::result<T, Failure>;

struct Progress {
    double progress = 0;
    std::optional<double> total;
    std::string message;
};

struct LogMessage {
    LogLevel level = LogLevel::info;
    std::string logger;
    Json data;
};

/// What the server says and asks on its own. Outlives the client. Called on the I/O thread, never from inside
/// a call to the client; must not destroy the client.
class ClientEvents {
  public:
    virtual ~ClientEvents() = default;
    /// A question (elicitation/create, sampling/createMessage, roots/list) of a call without its own
    /// `on_question`, or one that belongs to no call for certain (legacy on lines with several calls in
    /// flight). Returns the bare result (ElicitResult, CreateMessageResult, ListRootsResult). Throws
    /// RpcException to refuse. The key is unique in its round. Cancelled when the server takes the question
    /// back, the call ends, or the connection closes.
    virtual Task<Json> ask(Question question);  ///< refuses with -32601
    virtual void log(LogMessage) {}             ///< of no call in particular
    // Lists are to be read anew. A hostile server may say so without end: whoever answers by a request bounds that.
    virtual void tools_changed() {}
    virtual void prompts_changed() {}
    virtual void resources_changed() {}
    virtual void resource_updated(std::string uri) { (void)uri; }  ///< of one that was subscribed to, or any other
    virtual void task_changed(Json task) {
        (void)task;
    }  ///< notifications/tasks (modern), notifications/tasks/status (legacy)
    virtual void elicitation_completed(std::string elicitation_id) {
        (void)elicitation_id;
    }  ///< legacy URL mode
    /// A tool left out of list_tools because its definition breaks a MUST: no name, no object schema, or over
    /// HTTP an invalid x-mcp-header.
    virtual void tool_dropped(std::string name, std::string reason) { (void)name, (void)reason; }
    /// Once, when the connection ended otherwise than by `close`: the reason names the cause.
    virtual void failed(std::string reason) { (void)reason; }
};

/// How one request is made. Everything is optional.
struct CallOptions {
    /// How long without an answer, and without progress, which starts it anew. 0 =
    /// ClientOptions::request_limit.
    base::milliseconds limit{0};
    Json meta;  ///< object: goes into params._meta unaltered; keys that belong to the protocol itself are
                ///< ours and win
    std::function<void(Progress)> on_progress;  ///< set = the server is asked for progress
    std::function<void(LogMessage)>
        on_log;  ///< modern (with log_level), and legacy where the stream tells whose it is
    std::optional<LogLevel> log_level;  ///< modern: opt-in for this request; default: set_log_level's
    std::function<Task<Json>(Question)> on_question;  ///< instead of ClientEvents::ask
    std::optional<Json>
        capabilities;  ///< modern: declared on this request instead of ClientOptions::capabilities

    /// Modern: an input_required result is handed back as it is instead of being answered; the caller goes on
    /// with `input_responses` and `request_state` in a request of its own. For who passes rounds on to a
    /// client of theirs.
    bool raw_rounds = false;
    Json input_responses;  ///< object of bare results by key; null = none
    std::optional<std::string> request_state;

    /// A result that is a task is followed (polled at its interval, questions answered) to the final result;
    /// cancelling the call cancels the task. False: the task itself is handed back.
    bool follow_task = true;
    /// Legacy: asks for a task (params.task), as tools with execution.taskSupport "required" need. Modern
    /// servers decide.
    std::optional<base::milliseconds> task_ttl;
};

struct ClientOptions {
    Json client_info;                       ///< Implementation: {name, version, title?...}
    Json capabilities = Json::object();     ///< ClientCapabilities, honest: what ClientEvents::ask answers
    std::optional<Era> era;                 ///< known from before (cached); nothing = find out, modern first
    base::milliseconds probe_limit{10'000}; ///< lines, from the start of the program: silence on server/discover that means legacy
    base::milliseconds open_limit{60'000};  ///< the whole opening
    base::milliseconds request_limit{60'000};
    base::milliseconds request_hard_limit{3'600'000};  ///< whatever progress says
    base::milliseconds question_limit{300'000};        ///< for ClientEvents::ask and on_question
    base::milliseconds close_limit{2'000};  ///< lines: for the server to end its output after its input ended
    std::size_t max_message_bytes = 16 << 20;  ///< a line, an HTTP body, an event
    int max_depth = 64;
    std::size_t max_in_flight = 256;
    std::size_t max_questions = 16;           ///< of the server, open at once; one more is refused
    std::size_t max_queued_bytes = 32 << 20;  ///< lines: to a server that does not read
    unsigned max_unsolicited_per_second =
        2'000;  ///< notifications and server requests; ten seconds' worth may burst
    std::size_t max_pages = 200, max_items = 10'000;  ///< of one list
    unsigned max_rounds = 16;                         ///< input-required rounds of one call
    bool listen =
        true;  ///< keep a stream for change notices: subscriptions/listen, or the GET stream over HTTP
};

/// Credentials of an HTTP server, e.g. OAuth (mcp/oauth.hpp). Threads: the I/O thread.
class Authorization {
  public:
    virtual ~Authorization() = default;
    /// The bearer token to send now, "" for none. May refresh it.
    virtual Task<base::Result<base::Secret>> token() = 0;
    /// After 401, or 403 with insufficient_scope: true when `token` has a better one now, and the request may
    /// be sent once more. An error says why there is none, e.g. that the operator must open a URL.
    virtual Task<base::Result<bool>> challenged(int status, std::string www_authenticate) = 0;
};

/// A server reached by URL.
struct HttpServer {
    enum class Transport {
        automatic,
        streamable,
        sse
    };                ///< automatic: Streamable HTTP, then the old HTTP+SSE
    std::string url;  ///< http:// or https://, as the operator wrote it
    Transport transport = Transport::automatic;
    std::vector<std::pair<std::string, base::Secret>> headers;  ///< sent with every request to this origin
    std::shared_ptr<Authorization> authorization;               ///< null = none
};

/// An elicitation form's answer with the defaults of the schema for the fields that it leaves out.
Json with_defaults(Json content, Json const& requested_schema);

/// What the opening found out.
struct ServerFacts {
    Era era = Era::legacy;
    std::string version;                ///< protocol revision in use
    std::vector<std::string> versions;  ///< modern: all that it supports
    Json info;          ///< Implementation as the server says it; null when it does not. Display only.
    Json capabilities;  ///< null: it did not say
    std::string instructions;
};

/// Threads: the I/O thread. The coroutines of its functions may be cancelled, which cancels their request at
/// the server. Requests in flight when the connection ends fail once, with the reason; nothing is ever sent
/// twice, except a request that the server refused unseen (404 for a session that ended, a header mismatch,
/// credentials).
class Client {
  public:
    /// Over lines that are there already, or to a URL that nothing is sent to before `open`.
    Client(asio::io_context&, std::unique_ptr<base::ByteStream> lines, ClientOptions, ClientEvents&);
    Client(asio::io_context&, HttpServer, ClientOptions, ClientEvents&);
    ~Client();  ///< ends everything at once; in-flight coroutines resume with errc::unavailable

    /// Once, first. Chooses the era and learns what the server is.
    Task<Outcome<ServerFacts>> open();
    ServerFacts const& server() const;  ///< what `open` found; empty before
    bool usable() const;                ///< open, and not failed
    std::string const& reason() const;  ///< why it failed
    /// Lines: the server ended its output on the probe without a word, as some old ones do. Start it again
    /// and open it with `era = Era::legacy`.
    bool ended_on_probe() const;
    std::size_t in_flight() const;      ///< requests without an answer yet

    /// Any request of the protocol: `params` unaltered but for _meta. The result is checked to be an object.
    Task<Outcome<Json>> request(std::string method, Json params, CallOptions options);

    // The same with the method's shape checked. Lists follow the cursors to the end and give one array; an
    // absent capability gives an empty one without asking.
    Task<Outcome<Json>> list_tools();
    Task<Outcome<Json>> list_prompts();
    Task<Outcome<Json>> list_resources();
    Task<Outcome<Json>> list_templates();
    Task<Outcome<Json>> call_tool(std::string name, Json arguments, CallOptions options);  ///< CallToolResult
    Task<Outcome<Json>> get_prompt(std::string name, Json arguments,
                                   CallOptions options);                      ///< {description?, messages}
    Task<Outcome<Json>> read_resource(std::string uri, CallOptions options);  ///< {contents}
    /// `ref` {type, name | uri}; `argument` {name, value}; `context` null or {arguments}. Gives {completion}.
    Task<Outcome<Json>> complete(Json ref, Json argument, Json context, CallOptions options);

    /// Resource updates come as ClientEvents::resource_updated. Modern: through a listen stream of this
    /// client's.
    Task<Outcome<Json>> subscribe(std::string uri);
    Task<Outcome<Json>> unsubscribe(std::string uri);  ///< one that was not subscribed to is fine
    /// Legacy: logging/setLevel. Modern: asked for with each request from now on.
    Task<Outcome<Json>> set_log_level(LogLevel);
    void roots_changed();  ///< legacy: notifications/roots/list_changed; modern has none
    /// Tool definitions from a cache, so that calls over HTTP carry their x-mcp-header fields before a
    /// list_tools.
    void know_tools(Json const& tools);

    /// Ends the session (legacy HTTP: DELETE) and the streams; requests in flight fail with
    /// errc::unavailable.
    Task<void> close();

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // shared with the coroutines in flight
};

}  // namespace mcp
