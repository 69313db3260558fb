#pragma once
#include "arguments.hpp"
#include <base/blocking.hpp>
#include <config/settings.hpp>
#include <mcp/features.hpp>
#include <registry/registry.hpp>
#include <workspace/workspaces.hpp>

#include <functional>
#include <string>
#include <vector>

// The table of tools, one file per group. A tool is its fields, its description and one handler, side by
// side.
namespace preview {
class Previews;
class Browser;
}

namespace host {

class Transfers;
using base::Task;
using mcp::Call;
using mcp::ToolResult;

/// What tools work with. Outlives every call.
struct Tools {
    workspace::Workspaces& workspaces;
    registry::Registry& records;
    base::BlockingPool& pool;
    config::Settings const& settings;
    Transfers& transfers;
    preview::Previews& previews;
    preview::Browser& browser;
    /// A tool of berth's or of a server, if the caller may use it. Set once all tools are there.
    std::function<std::shared_ptr<mcp::Tool const>(std::string const& name, mcp::Caller const&)> find_tool;
};

struct Hints {
    bool read_only = false, destructive = false, idempotent = false, open_world = false;
};

struct ToolSpec {
    std::string name, title, description;
    std::vector<Field> fields;
    Json output;  ///< properties of the structured result: name to type
    Hints hints;
    std::string toolset = "core";
    bool may_be_task = false;
    std::string doing = "";  ///< what its client hears that it does while it takes long; "" = the title
};
using Handler = std::function<Task<ToolResult>(Arguments, Call&)>;

/// Checks arguments, runs the handler, and turns BadArgument and ToolFailure into results. A client that wants progress hears
/// every few seconds that it goes on.
mcp::Tool make_tool(ToolSpec spec, Handler handler);

/// A failed tool call, for the model to read: what failed and what to do next.
struct ToolFailure : std::exception {
    explicit ToolFailure(base::Error const& e) : message(e.message()) {}
    explicit ToolFailure(std::string text) : message(std::move(text)) {}
    char const* what() const noexcept override { return message.c_str(); }
    std::string message;
};
template <class T>
T value_of(base::Result<T> result) {
    if (!result) throw ToolFailure(result.error());
    return std::move(*result);
}
inline void require(base::Status const& status) {
    if (!status) throw ToolFailure(status.error());
}

std::vector<mcp::Tool> workspace_tools(Tools&);
std::vector<mcp::Tool> process_tools(Tools&);
std::vector<mcp::Tool> file_tools(Tools&);
std::vector<mcp::Tool> transfer_tools(Tools&);
std::vector<mcp::Tool> lifecycle_tools(Tools&);
std::vector<mcp::Tool> snapshot_tools(Tools&);
std::vector<mcp::Tool> preview_tools(Tools&);
mcp::Tool preview_check_tool(Tools&);

Field workspace_id_field();

/// A workspace as lists show it, and as workspace_get and its resource do.
Json shown(workspace::View const&);
Json shown_whole(workspace::View const&);

/// Tells a caller whose call brought a workspace back with what: in the structured result, and a line when it lost something.
void add_arrival(workspace::Arrival const&, Json& out, std::string& text);
/// Names of phases to milliseconds, in order.
Json shown(sandbox::Phases const&);

/// Text for a model: UTF-8, without terminal escapes, with the last state of each progress line.
std::string plain_text(std::string_view output);

}  // namespace host
