#pragma once
#include "names.hpp"
#include "passage.hpp"
#include "tool_search.hpp"
#include "upstream.hpp"
#include <workspace/volume.hpp>

#include <deque>
#include <map>
#include <memory>
#include <servers/servers.hpp>
#include <set>
#include <string>
#include <vector>

namespace servers {

struct Servers::Impl : std::enable_shared_from_this<Servers::Impl> {
    Impl(asio::io_context& io, base::BlockingPool& pool, Options options, registry::Registry& records,
         sandbox::Sandboxes& sandboxes, sandbox::EgressProxy& egress,
         std::unique_ptr<workspace::VolumeStore> volumes);

    using Ptr = std::shared_ptr<Upstream>;
    struct PublicTool {
        Ptr upstream;
        ShownTool shown;
    };

    // servers.cpp: the file and the lives of servers.
    Task<void> load();
    Task<void> apply(config::ServerFile file);
    Task<void> watch_file();
    Task<void> keep_house();
    Task<void> open_images();
    bool is_idle(Upstream& upstream) const;
    void forget_watches(Upstream& upstream) const;
    Task<void> chore(Ptr upstream);
    Task<void> learn_unknown();
    Ptr find(std::string const& name) const;

    // offers.cpp: what clients see.
    void rebuild();
    std::shared_ptr<mcp::Tool const> make_tool(Ptr const& upstream, ShownTool const& shown);
    std::shared_ptr<mcp::Prompt const> make_prompt(Ptr const& upstream, base::Json const& definition,
                                                   std::string public_name);
    Ptr owner_of(std::string const& public_uri) const;
    /// A tool's result pointed there: it may be read, listed or not.
    void remember_link(std::string const& public_uri, std::string const& server);

    // calls.cpp: the way through.
    Task<mcp::ToolResult> call_tool(Ptr upstream, std::string name, std::string public_name, bool needs_task,
                                    base::Json arguments, mcp::Call& call);
    /// Throws RpcException for a protocol error of the server, and for one of ours.
    Task<base::Json> relay(Ptr upstream, std::string what, Passage::Run run, mcp::Call& call);
    Task<mcp::Outcome<base::Json>> pass(Ptr upstream, std::string what, Passage::Run run, mcp::Call& call);

    base::Json brief(Upstream const& upstream) const;

    asio::io_context& io;
    Options options;
    registry::Registry& records;
    std::unique_ptr<workspace::VolumeStore> volumes;
    std::unique_ptr<sandbox::ImageStore> images;
    Launchpad pad;
    Surroundings around;
    mcp::Hub* hub = nullptr;
    ParkedCalls parked;
    std::map<std::string, Ptr> upstreams;  // by name, so that whatever depends on an order has a stable one
    std::vector<std::string> file_notes;
    std::string file_problem;  // of the last edit, "" when it is in force
    /// Of servers.json and of each file whose contents its entries asked for, as they were read.
    std::map<std::string, std::string> stamps;
    bool stopping = false, loading = false;
    int learning = 0;
    std::set<std::string> chores;  // of housekeeping, under way: the servers' names

    std::vector<std::shared_ptr<mcp::Tool const>> tools;
    std::map<std::string, PublicTool> by_name;
    std::vector<std::shared_ptr<mcp::Prompt const>> prompts;
    std::map<std::string, std::pair<Ptr, std::string>>
        prompt_owner;  // public name to server and its own name
    std::vector<Collision> collisions;       // of tools
    std::vector<Collision> prompt_collisions;
    std::vector<Collision> uri_collisions;  // the first claimant has it
    base::Json resources = base::Json::array(), templates = base::Json::array();
    std::map<std::string, std::string> links;  ///< public URI to server, of the latest `link_order`
    std::deque<std::string> link_order;
    std::string shown_tools_print, shown_prompts_print, shown_resources_print;
    ToolSearch search;
};

}  // namespace servers
