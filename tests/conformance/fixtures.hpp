#pragma once
#include <mcp/server.hpp>

#include <string>
#include <utility>
#include <vector>

// What the public conformance suite expects a server to offer, one function per family of scenarios.
namespace fixtures {

using base::Task;
using mcp::Call;
using mcp::Json;
using mcp::Tool;
using mcp::ToolResult;

inline constexpr auto kPng =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
inline constexpr auto kWav = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA==";

/// Set once the server stands; the trigger tools speak through it.
struct Late {
    mcp::Hub* hub = nullptr;
};

using Run = std::function<Task<ToolResult>(Json, Call&)>;
Tool tool(std::string name, std::string description, Json properties, std::vector<std::string> required,
          Run run);
mcp::Question form(std::string key, std::string message, Json properties, std::vector<std::string> required);
mcp::Question sampling(std::string key, std::string prompt);
mcp::Question roots(std::string key);

/// A string inside the content of an accepted form; "" for anything else.
std::string content_of(Json const& answer, std::string const& name);

std::vector<Tool> content_tools(std::shared_ptr<Late> late);
std::vector<Tool> question_tools();
std::vector<Tool> task_tools();
mcp::Resources resources();
std::vector<mcp::Prompt> prompts();

}  // namespace fixtures
