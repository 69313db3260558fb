#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>
#include <mcp/features.hpp>
#include <registry/registry.hpp>
#include <sandbox/egress.hpp>
#include <sandbox/sandboxes.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// Community MCP servers: configured in servers.json, each in a sandbox of its own, their tools, resources and
// prompts beside ours in whichever era the client speaks.
namespace servers {

using base::Task;

struct Options {
    std::string file;       ///< servers.json; a missing one means no servers, until it appears
    std::string directory;  ///< DIR/servers: volumes and mounts; 0700
    std::string default_template = "base";
    std::string version;          ///< of berth, for clientInfo
    std::size_t name_limit = 40;  ///< of public tool names
    /// What a command that an operator is told to run needs to find us, such as " --data DIR".
    std::string command_options;
    std::uint64_t image_bytes = 16ull << 30;  ///< of memory images of servers that hibernate
    int max_starts = 2;           ///< first starts at once, to learn what servers offer
    /// The host's directory of a workspace's files, good for as long as what comes with it is held.
    std::function<Task<base::Result<std::pair<std::string, std::shared_ptr<void>>>>(std::string workspace)>
        workspace_files;
    /// Whether a caller sees the servers' tools and prompts in lists. Those that do not can still reach them
    /// by `call`.
    std::function<bool(mcp::Caller const&)> shown_to;
};

/// Threads: the I/O thread.
class Servers final : public mcp::Offers {
  public:
    /// Removes what a crash left behind. errc::unavailable when volumes cannot be had.
    static base::Result<std::unique_ptr<Servers>> open(asio::io_context&, base::BlockingPool&, Options,
                                                       registry::Registry&, sandbox::Sandboxes&,
                                                       sandbox::EgressProxy&);
    ~Servers() override;

    /// Reads the file, shows what is known from before, and starts what has to run, without waiting for any
    /// of it. From now on the file is watched, and `hub` hears of changes. `hub` outlives this.
    Task<void> start(mcp::Hub& hub);
    /// Ends every server; nothing of them is left.
    Task<void> stop();

    // What clients see.
    std::vector<std::shared_ptr<mcp::Tool const>> tools(mcp::Caller const&) const override;
    std::shared_ptr<mcp::Tool const> tool(std::string const& name, mcp::Caller const&) const override;
    std::vector<std::shared_ptr<mcp::Prompt const>> prompts(mcp::Caller const&) const override;
    mcp::Json resources() const;  ///< array
    mcp::Json templates() const;  ///< array
    /// As mcp::Resources::read; nothing when no server has it. Throws RpcException, as Call::ask does.
    Task<std::optional<mcp::Json>> read(std::string uri, mcp::Call& call);
    void watched(std::string const& uri);
    void roots_changed(std::string const& principal);  ///< of a client of theirs
    /// Nothing when the reference is none of theirs.
    Task<std::optional<mcp::Completion>> complete(mcp::Json ref, std::string argument, std::string value,
                                                  mcp::Json context, mcp::Call& call);

    // For the operator and for tools.
    std::string file_problem() const;  ///< why the file as it stands is not in force; "" = it is
    mcp::Json list() const;  ///< array of what `status` says, in brief
    base::Result<mcp::Json> status(std::string const& server) const;
    Task<base::Result<mcp::Json>> restart(std::string server);  ///< starts it, too; waits for the outcome
    base::Result<std::vector<std::string>> logs(std::string const& server, std::size_t lines) const;
    /// `hash` is the `held_hash` of the status that was looked at.
    Task<base::Result<std::vector<std::string>>> approve(std::string server, std::vector<std::string> tools,
                                                         std::string hash, std::string who);
    /// The tools that fit best, with name, server and description.
    mcp::Json search(std::string const& query, std::size_t limit) const;
    /// The full definition of a tool, by its public name.
    base::Result<mcp::Json> describe(std::string const& tool) const;
    Task<mcp::ToolResult> call(std::string tool, mcp::Json arguments, mcp::Call& call);
    std::size_t count() const;    ///< configured servers that are not disabled
    std::string metrics() const;  ///< Prometheus text

  private:
    struct Impl;
    explicit Servers(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<Impl> impl_;  // shared with coroutines that still wind down
};

}  // namespace servers
