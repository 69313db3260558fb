#pragma once
#include "hub.hpp"
#include "seal.hpp"
#include "tasks.hpp"
#include <mcp/server.hpp>

namespace mcp {

/// A tool's parameter that a modern HTTP client mirrors in a header (`x-mcp-header`).
struct HeaderParam {
    std::vector<std::string> path;  ///< from the arguments down
    std::string header;             ///< "Mcp-Param-..."
};

/// What both eras and both transports share: the offer, and the methods that mean the same everywhere.
class Endpoint : public std::enable_shared_from_this<Endpoint> {
  public:
    Endpoint(asio::io_context& io, Features f, ServerOptions o);

    asio::any_io_executor const executor;
    Features const features;
    ServerOptions const options;
    Seal const seal;
    Listeners listeners;
    Tasks tasks;
    Json server_info;
    bool stopping = false;

    Json capabilities(bool modern) const;
    /// Null for a tool that does not exist or is outside the caller's toolsets.
    std::shared_ptr<Tool const> find_tool(std::string const& name, Caller const&) const;
    std::vector<HeaderParam> header_params(Tool const&) const;
    /// Somebody begins to watch this resource.
    void watch(std::string const& uri) const {
        if (features.resources && features.resources->watched) features.resources->watched(uri);
    }

    /// The result without any era's dress; nothing when no such method is offered. Throws RpcException and,
    /// modern only, InputRequired.
    Task<std::optional<Json>> handle(std::string method, Json params, std::shared_ptr<ActiveCall> call);

    /// Runs `work` as a coroutine of its own that `stop` and `running` can cancel. It may begin, and end,
    /// before this returns.
    void spawn(std::shared_ptr<Running> running, Task<void> work, bool ends_by_itself = false);
    Task<void> stop();

  private:
    Task<Json> call_tool(Json params, std::shared_ptr<ActiveCall> call);
    Task<Json> call_as_task(std::shared_ptr<Tool const> tool, Json arguments, std::shared_ptr<ActiveCall> call);
    Json list_tools(Json const& params, Call const& call) const;
    Json list_prompts(Json const& params, Call const& call) const;
    Task<Json> get_prompt(Json params, std::shared_ptr<ActiveCall> call);
    Task<Json> list_resources(Json params, std::shared_ptr<ActiveCall> call);
    Task<Json> list_templates(std::shared_ptr<ActiveCall> call);
    Task<Json> read_resource(Json params, std::shared_ptr<ActiveCall> call);
    Task<Json> complete(Json params, std::shared_ptr<ActiveCall> call);
    Json page(std::vector<Json const*> const& all, char const* member, Json const& params,
              std::string const& binding) const;

    std::map<std::string, std::vector<HeaderParam>> header_params_;
    std::set<std::shared_ptr<Running>> running_, patient_;
};

/// What a failed handler tells its peer: an RpcException's own words, else nothing of the inside.
RpcError error_from(std::exception_ptr);

/// The string at `name`; throws -32602 when it is absent or no string.
std::string string_param(Json const& params, char const* name);

}  // namespace mcp
