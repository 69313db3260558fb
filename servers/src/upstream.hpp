#pragma once
#include "kept_login.hpp"
#include "lifecycle.hpp"
#include "offer.hpp"
#include "program.hpp"
#include "redact.hpp"
#include "signal.hpp"
#include <registry/registry.hpp>
#include <servers/package_runner.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace servers {

class Upstream;

/// 0 to 1, for Lifecycle.
double random_part();

/// A call's questions and messages; see passage.hpp.
class Passage;

/// One run of a server: its program and the client that talks to it. Shared by the upstream that owns it and
/// by calls in flight, which outlive its end.
class Connection final : public mcp::ClientEvents {
  public:
    explicit Connection(std::weak_ptr<Upstream> owner) : owner_(std::move(owner)) {}

    Task<mcp::Json> ask(mcp::Question question) override;
    void log(mcp::LogMessage) override;
    void tools_changed() override;
    void prompts_changed() override;
    void resources_changed() override;
    void resource_updated(std::string uri) override;
    void elicitation_completed(std::string elicitation_id) override;
    void tool_dropped(std::string name, std::string reason) override;
    void failed(std::string reason) override;

    std::unique_ptr<Program> program;  ///< null for a server reached by URL
    std::unique_ptr<mcp::Client> client;
    bool over = false;
    std::map<std::string, bool> asked_to_watch;  ///< its URIs, and whether it agreed: no is not asked again
    mcp::LogLevel log_level = mcp::LogLevel::info;  ///< legacy: as it was told
    bool tending = false;                        ///< of what it watches, under way

  private:
    std::shared_ptr<Passage> asked_for(std::string const& method) const;
    std::weak_ptr<Upstream> owner_;
};

/// What every upstream shares. Outlives them.
struct Surroundings {
    asio::io_context& io;
    Launchpad& pad;
    registry::Registry& records;
    std::size_t name_limit = 40;
    mcp::Json client_info;
    LoginStore logins;
    std::function<std::string(std::string const& server)> login_command;  ///< what the operator runs
    std::function<void()> changed;                        ///< an offer, or a state
    /// A resource, under its public name, by the server that says so.
    std::function<void(Upstream const&, std::string const& uri)> updated;
};

/// One configured server: its state, what it offers, and the way to it. Threads: the I/O thread.
class Upstream : public std::enable_shared_from_this<Upstream> {
  public:
    Upstream(Surroundings& around, config::ServerEntry entry);

    config::ServerEntry const& entry() const { return entry_; }
    Lifecycle const& life() const { return life_; }
    Offer const& offer() const { return offer_; }
    std::vector<ShownTool> const& tools() const { return tools_; }
    std::vector<HeldTool> const& held() const { return held_; }
    Redactor const& redactor() const { return redactor_; }
    LogBuffer& log() { return *log_; }
    Refusals const& refusals() const { return *refusals_; }
    std::shared_ptr<Connection> const& connection() const { return connection_; }
    bool known() const { return known_; }  ///< what it offers was seen, now or in an earlier life of berth

    /// What was known before. First, once.
    Task<void> recall();
    /// The running server, started when it is not. errc::unavailable says why there is none.
    Task<Result<std::shared_ptr<Connection>>> use();
    /// Ends it; the next use starts it. `forget_failures` also ends backing off.
    Task<void> stop(std::string why, bool forget_failures);
    /// Ends it for good: whoever still waits for it is told so, and nothing starts it again.
    Task<void> retire(std::string why);
    /// Whether its memory goes to disk when it is idle. `hibernate` leaves it running when that fails, or it is in use.
    bool can_hibernate() const;
    Task<void> hibernate();
    bool hibernated() const { return sleeping_ != nullptr; }
    /// After a change of the configuration that leaves the running server as it is.
    void reconfigure(config::ServerEntry entry);
    /// The operator logged in or out beside us: the next use starts it with what is kept now.
    bool login_changed() const { return login_ && login_->changed(); }
    Task<void> login_again();
    /// What an operator has to do next, "" for nothing.
    std::string next_step() const;
    /// Accepts what is held back: all, or the tools named. Returns their names. `hash` is held_hash of what was looked at:
    /// errc::invalid without it, errc::stale when something else is held back now.
    Task<Result<std::vector<std::string>>> approve(std::vector<std::string> tools, std::string hash, std::string who);

    /// A turn for one call, by the server's limits. Released by its destruction.
    class Turn {
      public:
        Turn() = default;
        explicit Turn(std::shared_ptr<Upstream> of) : of_(std::move(of)) { ++of_->in_flight_; }
        Turn(Turn&&) noexcept = default;
        Turn& operator=(Turn&&) noexcept = default;
        ~Turn() {
            if (of_) of_->turn_over();
        }

      private:
        std::shared_ptr<Upstream> of_;
    };
    /// errc::busy beyond calls_per_minute, or when no turn came within the call's time.
    Task<Result<Turn>> take_turn();
    int in_flight() const { return in_flight_; }
    base::Clock::time_point last_used() const { return last_used_; }
    /// Somebody watches this resource of the server's: it is started for that, and told.
    void watch(std::string const& uri);
    /// What of it is still watched is for the caller to find out; `serve_watchers` then tells the server.
    std::set<std::string>& watched() { return watched_; }
    /// Not running although something of it is watched, with nothing that speaks against a start now; or not yet told what is.
    bool missed_by_watchers() const;
    Task<void> serve_watchers();

    /// A server in a sandbox sees nothing of the client's machine: its roots are what is inside, and not the
    /// client's.
    bool own_roots() const {
        return entry_.kind == config::ServerEntry::Kind::stdio &&
               entry_.isolation == config::ServerEntry::Isolation::sandbox;
    }
    mcp::Json roots() const;

    // Counters for status.
    std::uint64_t calls = 0, failed_calls = 0, starts = 0, sleeps = 0, wakes = 0;
    /// A tool call as the audit trail has it: the last few are kept for status.
    void remember(mcp::Json audited);
    std::deque<mcp::Json> const& last_calls() const { return last_calls_; }
    /// Makes a server of the older eras log what those want whose calls are in flight; info at least, which is also for us.
    Task<void> tune_log(std::shared_ptr<Connection> connection);
    /// Whoever is asked to open a URL hears when that is done.
    void expect_completion(mcp::Json const& elicitation, mcp::Call const& asked);
    /// A client's roots are others now: a server that asks for them hears of it with a call of that client's under way.
    void roots_changed(std::string const& principal);
    void call_begins(Connection& connection, std::string const& principal);
    std::vector<Passage*> passages;  ///< in flight, the oldest first: for questions that name no call

  private:
    friend class Connection;
    struct Attempt;

    Task<void> start();
    Task<void> start_inside(std::shared_ptr<Connection>& made);
    Task<Result<bool>> wake();
    /// Ends what a client waits for.
    Task<void> cut(std::shared_ptr<Connection> connection);
    /// Why an attempt failed; waits a moment for its last words. `cause`: why its program ended, "" when it did not.
    Task<Complaint> complaint(std::shared_ptr<Connection> made, std::string& cause);
    Task<Status> start_once(std::shared_ptr<Connection>& made, std::optional<mcp::Era>& era,
                            std::string& degraded_by);
    Task<Status> connect(std::shared_ptr<Connection> connection, std::optional<mcp::Era> era);
    /// Everything it offers; "" or which part could not be had. errc::timed_out: not within `limit`, and nothing of it is
    /// taken.
    Task<Result<std::string>> learn(std::shared_ptr<Connection> connection, base::milliseconds limit);
    Task<void> learn_again(std::shared_ptr<Connection> connection);
    void connection_failed(Connection& connection, std::string reason);
    Task<void> bury(std::shared_ptr<Connection> connection, std::string reason);
    Task<void> end(std::shared_ptr<Connection> connection);
    Task<void> apply_pins();
    void turn_over();
    bool watches_differ() const;
    Task<void> tend_watches();
    std::shared_ptr<mcp::Authorization> authorization();
    Task<void> lose_login(std::shared_ptr<Connection> connection);
    void hide_again();

    Surroundings& around_;
    config::ServerEntry entry_;
    Lifecycle life_;
    Redactor redactor_;
    std::deque<base::Secret> given_;  ///< tokens that are hidden like what was configured, newest last
    std::shared_ptr<KeptLogin> login_;
    bool login_wanted_ = false;
    std::shared_ptr<LogBuffer> log_ = std::make_shared<LogBuffer>();
    std::shared_ptr<Refusals> refusals_ = std::make_shared<Refusals>();
    std::deque<mcp::Json> last_calls_;  ///< the newest last
    Signal changed_, turns_;
    std::shared_ptr<Connection> connection_, starting_, sleeping_;
    std::string slept_reason_;  ///< of `degraded`, as it was
    bool retired_ = false, cut_short_ = false;
    bool closing_ = false, known_ = false, learning_ = false, learn_once_more_ = false;
    std::optional<mcp::Era> era_;
    std::optional<PackageRunner> runner_;  ///< what its command fetches
    std::optional<Fetch> fetch_;           ///< and how, in the start that is under way; nothing when it does not
    std::string advice_;                   ///< for the operator, of the last start, when that failed for it
    Offer offer_;
    std::vector<ShownTool> tools_;
    std::vector<HeldTool> held_;
    int in_flight_ = 0;
    base::Clock::time_point last_used_ = base::Clock::now();
    base::Clock::time_point minute_ = base::Clock::now();
    int this_minute_ = 0;
    std::set<std::string> watched_;
    std::set<std::string> moved_;  ///< principals whose roots changed, and the server does not know
    std::deque<std::pair<std::string, std::function<void(std::string)>>> completions_;  ///< by elicitation, newest last
};

}  // namespace servers
