#pragma once
#include <mcp/features.hpp>
#include <sandbox/guest.hpp>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>

namespace host {

/// What one command may call, and for whom.
struct Grant {
    struct Limits {
        std::size_t at_once = 8;  ///< calls; further ones are not read before
        std::uint64_t calls = 10'000;
        std::size_t request_bytes = 1 << 20, answer_bytes = 4 << 20;
        std::uint64_t bytes = 256 << 20;  ///< requests and answers together
    };
    mcp::Caller caller;
    std::string workspace, command;  ///< ids
    std::set<std::string> tools;
    /// A tool, if the caller may use it. Asked anew for each call.
    std::function<std::shared_ptr<mcp::Tool const>(std::string const& name, mcp::Caller const&)> find;
    std::function<void(base::Json)> audit;  ///< of each call, also one that was refused
    Limits limits;
};

/// Code mode: the tools that one command in a workspace calls by itself, while the caller of run_command
/// waits for it. The command is hostile. Its way here is a stream that no other command has, and which ends
/// with this; what crosses there are lines of JSON-RPC, tools/list and tools/call as MCP has them. Whatever
/// holds for a call of the caller's holds for one of the command's; beyond that it calls only what was named,
/// berth's own tools only for its own workspace, and nobody can be asked anything. Threads: the I/O thread.
class CommandTools : public std::enable_shared_from_this<CommandTools> {
  public:
    /// errc::invalid: a tool that there is not for this caller, or that no command may call.
    static base::Result<std::shared_ptr<CommandTools>> open(asio::any_io_executor, Grant);

    /// Runs the command and answers as Guest::start does. The tools end with this task, whether or not the
    /// command does.
    static mcp::Task<base::Result<sandbox::ProcessView>> run(std::shared_ptr<CommandTools> self,
                                                             sandbox::Guest guest, sandbox::ProcessSpec spec);

    /// Answers what comes on the stream, once.
    void serve(std::unique_ptr<base::ByteStream> stream);
    /// Closes the stream and cancels the calls under way. Idempotent.
    void end();

    /// "12 tool calls, 1 failed", and why they ended early if they did.
    std::string summary() const;
    std::uint64_t calls() const { return calls_; }

  private:
    class Quiet;  // the caller as tools see it
    CommandTools(asio::any_io_executor executor, Grant grant);

    static mcp::Task<void> read(std::shared_ptr<CommandTools> self);
    static mcp::Task<void> handle(std::shared_ptr<CommandTools> self, base::Json request);
    mcp::Task<base::Json> call(base::Json params, std::size_t bytes);
    mcp::Task<void> answer(base::Json message);
    mcp::Task<void> changed();
    base::Json list() const;
    void stop(std::string why);

    asio::any_io_executor executor_;
    Grant grant_;
    std::shared_ptr<Quiet> caller_;
    std::unique_ptr<base::ByteStream> stream_;  // null once over
    asio::steady_timer changed_;                    // never expires; cancelled when something did
    std::list<std::shared_ptr<asio::cancellation_signal>> under_way_;
    bool writing_ = false, over_ = false;
    bool checking_ = false;  // a preview_check is under way: its command has no second place in the browser's queue
    std::uint64_t calls_ = 0, failed_ = 0, bytes_ = 0;
    std::string stopped_;
};

}  // namespace host
