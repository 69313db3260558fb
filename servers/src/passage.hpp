#pragma once
#include "signal.hpp"
#include "upstream.hpp"

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace servers {

class ParkedCalls;

/// The call that a question was put to ended before the answer came.
struct PassageOver : std::exception {
    char const* what() const noexcept override { return "the call is over"; }
};

/// One request on its way through to a server, with the questions that the server asks back. It lives apart
/// from the client's request: on 2026-07-28 a question ends that request, and the retry, which is another
/// one, brings the answer to the call that still waits upstream. The same serves every pairing of eras.
class Passage : public std::enable_shared_from_this<Passage> {
  public:
    using Run = std::function<Task<mcp::Outcome<mcp::Json>>(mcp::Client&, mcp::CallOptions)>;

    /// `what` names the request, so that a retry of another one does not get its answer.
    Passage(asio::io_context& io, std::shared_ptr<Upstream> upstream, std::shared_ptr<Connection> connection,
            Upstream::Turn turn, std::string principal, std::string what);
    ~Passage();

    std::string const& id() const { return id_; }
    bool belongs_to(std::string const& principal, std::string const& what) const {
        return principal == principal_ && what == what_;
    }

    /// Sends the request. `call` is the first to ride along.
    void begin(Run run, mcp::Call& call);
    /// Waits for the end, and asks `call`'s client what the server asks. Throws what `call` throws when it
    /// has to end first: the passage then waits in `parked` for the retry, or is cancelled with the call.
    Task<mcp::Outcome<mcp::Json>> ride(mcp::Call& call, ParkedCalls& parked);
    void cancel();

    // From the server's side.
    /// Throws PassageOver, and what the client's refusal says.
    Task<mcp::Json> question(mcp::Question question);
    /// Whether the client said that it can be asked this.
    bool can_answer(std::string const& method) const;
    std::string const& principal() const { return principal_; }
    void log(mcp::LogMessage message);
    mcp::LogLevel log_level() const { return log_level_; }  ///< from which on its client wants to hear, or info

  private:
    struct Asked {
        mcp::Question question;
        std::optional<mcp::Json> answer;
        std::optional<mcp::RpcError> refusal;
    };
    static Task<void> travel(std::shared_ptr<Passage> self, Run run, mcp::CallOptions options);

    asio::io_context& io_;
    std::shared_ptr<Upstream> upstream_;
    std::shared_ptr<Connection> connection_;
    std::optional<Upstream::Turn> turn_;
    std::string const principal_, what_, id_;
    Signal changed_;
    asio::cancellation_signal cancel_;
    bool cancelled_ = false;
    mcp::LogLevel log_level_ = mcp::LogLevel::info;
    mcp::Json can_answer_;       ///< the client's capabilities, of those that servers may ask for
    mcp::Call* call_ = nullptr;  ///< the client's request that waits now
    std::vector<std::shared_ptr<Asked>> open_;
    unsigned asked_ = 0;
    std::optional<mcp::Outcome<mcp::Json>> outcome_;
};

/// Calls that wait for their client to come back with answers. Bounded in number and time.
class ParkedCalls {
  public:
    bool put(std::shared_ptr<Passage> passage);
    void remove(std::string const& id) { calls_.erase(id); }
    std::shared_ptr<Passage> find(std::string const& id) const;
    /// Ends those that waited too long.
    void sweep();
    void cancel_all();

  private:
    static constexpr std::size_t kMax = 256;
    static constexpr base::milliseconds kPatience{600'000};
    struct Entry {
        std::shared_ptr<Passage> passage;
        base::Clock::time_point until;
    };
    std::map<std::string, Entry> calls_;
};

}  // namespace servers
