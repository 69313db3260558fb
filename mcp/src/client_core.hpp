#pragma once
#include "endpoint.hpp"
#include "message.hpp"
#include "wake.hpp"
#include <mcp/client.hpp>

#include <deque>
#include <list>
#include <map>
#include <set>

namespace mcp {

/// A message for the server, with what HTTP repeats of it in fields.
struct Outgoing {
    std::string text;
    std::uint64_t id = 0;  ///< 0: a notification or a response
    std::string method;    ///< empty: a response
    std::string name;      ///< Mcp-Name, when the method has one
    bool has_name = false;
    std::vector<std::pair<std::string, std::string>> params;  ///< Mcp-Param-*
};

/// A request of ours that has no answer yet. Shared by the coroutine that waits and the transport's exchange.
struct Pending {
    Pending(asio::any_io_executor executor, std::uint64_t number, std::shared_ptr<CallOptions const> o)
        : id(number), options(std::move(o)), wake(executor) {}
    bool over() const { return answer || failure; }
    void fail(Failure why) {
        if (over()) return;
        failure = std::move(why);
        wake.notify();
    }

    std::uint64_t const id;
    std::string method;
    std::shared_ptr<CallOptions const> options;
    Wake wake;
    std::optional<Message> answer;
    std::optional<Failure> failure;
    bool sent = false;     ///< bytes of it may have left
    bool listens = false;  ///< subscriptions/listen: its answer is its end
    Json acknowledged;     ///< what of it the server honours; null = not yet
    int asking = 0;        ///< questions of the server about it: its limit rests meanwhile
    base::Clock::time_point sign = base::Clock::now();  ///< sent, or the last progress
    double progress = -1e300;
    std::shared_ptr<Running> exchange;  ///< HTTP: the POST and what follows from it
};

class ClientCore;

/// What carries messages. Everything returns at once; answers and failures come through the core.
class Link {
  public:
    virtual ~Link() = default;
    virtual base::Status start() = 0;
    /// errc::busy: nothing was sent.
    virtual base::Status send(std::shared_ptr<Pending>, Outgoing) = 0;
    /// A notification or a response. Ends when the server took it, where the transport tells.
    virtual Task<void> say(Outgoing) = 0;
    /// Nobody waits for it any more; tells the server, as the era has it.
    virtual void abandon(Pending&, std::string reason) = 0;
    /// The opening is done: begins to hear what the server says unasked.
    virtual void opened() {}
    /// Stops everything at once.
    virtual void stop() = 0;
    /// Says goodbye, within close_limit.
    virtual Task<void> close() = 0;
    virtual bool http() const = 0;
};

/// The messages of one connection, whatever carries them: pairs answers with requests, answers the server's
/// questions, hands on its notices, and fails when the server breaks the protocol. Lives as long as a
/// coroutine of it.
class ClientCore : public std::enable_shared_from_this<ClientCore> {
  public:
    ClientCore(asio::io_context&, ClientOptions, ClientEvents&);

    /// One message of the server. `stream`: the request on whose stream it came; null on lines and on a
    /// stream of no request. An error names what was wrong; the transport decides what fails with it.
    base::Status receive(std::string_view text, Pending* stream);
    /// The connection is over through the server's fault or death: everything in flight fails, `events` learn
    /// of it.
    void fail(std::string why);
    /// The same through us: nobody is told.
    void shut(std::string why);
    void fail_pending(std::string const& why);

    Task<Outcome<Json>> roundtrip(std::string method, Json params, std::shared_ptr<CallOptions const> call);
    /// A request whose answer its caller waits for itself (subscriptions/listen).
    Outcome<std::shared_ptr<Pending>> begin(std::string const& method, Json params,
                                            std::shared_ptr<CallOptions const> call, bool listens);
    /// Takes it off the books. With a reason, the server learns that nobody waits for the answer any more.
    void end(Pending&, std::string const& why);
    void say(Outgoing);
    /// Work that this connection owns; cancelled when it is over.
    std::shared_ptr<Running> spawn(Task<void>);

    bool modern() const { return facts.era == Era::modern; }
    base::JsonLimits limits() const { return {options.max_message_bytes, options.max_depth}; }

    asio::any_io_executor executor;
    ClientOptions options;
    ClientEvents* events;  ///< null once the client is gone
    ServerFacts facts;
    std::unique_ptr<Link> link;
    bool open = false, closing = false, over = false;
    std::string reason;
    std::map<std::uint64_t, std::shared_ptr<Pending>> pending;
    std::optional<LogLevel> log_level;
    std::map<std::string, std::vector<HeaderParam>> header_params;  ///< x-mcp-header, by tool
    int opening_status = 0;  ///< HTTP status of the last answer while opening

  private:
    base::Status take_answer(Message, Pending* stream);
    base::Status take_request(Message, Pending* stream);
    void take_notice(Message, Pending* stream);
    base::Status within_rate(std::size_t bytes);
    void take_log(Json const& params, Pending* stream);
    std::shared_ptr<Pending> owner_of_question(Pending* stream) const;
    Task<void> run_question(Message, std::shared_ptr<Pending> owner, std::uint64_t serial);
    Json stamped(Json params, CallOptions const&, std::uint64_t id) const;
    Outgoing outgoing(std::uint64_t id, std::string const& method, Json params) const;
    void end_all();

    std::uint64_t next_id_ = 1;
    std::set<std::uint64_t> abandoned_;  ///< whose answers may still come
    std::uint64_t forgotten_below_ = 1;  ///< of ids below it nothing is known any more
    struct Asked {
        std::uint64_t serial = 0;
        std::shared_ptr<Running> running;
    };
    std::map<std::string, Asked> questions_;  ///< the server's, by its id
    std::uint64_t last_question_ = 0;
    std::list<std::shared_ptr<Running>> work_;
    double allowance_;
    base::Clock::time_point counted_ = base::Clock::now();
};

/// The answer to one question, from the call's own handler or the connection's, within the limit and of the
/// right shape. Throws RpcException.
Task<Json> ask_for(std::shared_ptr<ClientCore> core, std::shared_ptr<CallOptions const> call,
                   Question question);

/// What a hostile text looks like in a message of ours: short, one line, UTF-8.
std::string excerpt(std::string_view text);

}  // namespace mcp
