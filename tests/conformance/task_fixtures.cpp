#include "fixtures.hpp"
#include <base/timeout.hpp>

namespace fixtures {
namespace {

using base::sleep_for;
using std::chrono_literals::operator""ms;

Task<ToolResult> greet(Json arguments, Call&) {
    co_return ToolResult::text("Hello, " + arguments.value("name", "World") + '!');
}

Task<ToolResult> slow_compute(Json arguments, Call&) {
    auto const seconds = arguments.value("seconds", 0.0);
    if (seconds > 0) co_await sleep_for(base::milliseconds(static_cast<int>(seconds * 1000)));
    co_return ToolResult::text("Computed " + arguments.value("label", "something"));
}

Task<ToolResult> failing_job(Json, Call&) {
    co_await sleep_for(1000ms);
    co_return ToolResult::failure("The job failed.");
}

Task<ToolResult> protocol_error_job(Json, Call&) {
    co_await sleep_for(500ms);
    throw mcp::RpcException(mcp::RpcError{-32603, "The job broke.", nullptr});
}

Task<ToolResult> confirm_delete(Json arguments, Call& call) {
    auto const file = arguments.value("filename", "a file");
    std::vector<mcp::Question> questions;
    questions.push_back(
        form("confirm", "Delete " + file + '?', Json{{"confirm", {{"type", "boolean"}}}}, {"confirm"}));
    auto const answers = co_await call.ask(std::move(questions));
    bool const accepted = answers.at("confirm").value("action", "") == "accept";
    co_return ToolResult::text((accepted ? "Deleted " : "Kept ") + file);
}

Task<ToolResult> multi_input(Json, Call& call) {
    std::vector<mcp::Question> questions;
    questions.push_back(form("first", "First?", Json{{"name", {{"type", "string"}}}}, {"name"}));
    questions.push_back(form("second", "Second?", Json{{"name", {{"type", "string"}}}}, {"name"}));
    auto const answers = co_await call.ask(std::move(questions));
    co_return ToolResult::text("Got " + content_of(answers.at("first"), "name") + " and " +
                               content_of(answers.at("second"), "name"));
}

/// Its question comes before it is a task, so by another round of the request.
Task<ToolResult> ask_then_work(Json, Call& call) {
    std::vector<mcp::Question> questions;
    questions.push_back(
        form("user_name", "What is your name?", Json{{"name", {{"type", "string"}}}}, {"name"}));
    auto const answers = co_await call.ask(std::move(questions));
    co_await sleep_for(1000ms);
    co_return ToolResult::text("Hello, " + content_of(answers.at("user_name"), "name") + '!');
}

}  // namespace

std::vector<Tool> task_tools() {
    auto const none = Json::object();
    Json const text{{"type", "string"}};
    std::vector<Tool> out;
    out.push_back(tool("greet", "Greets at once", Json{{"name", text}}, {}, greet));
    auto slow = tool("slow_compute", "Takes as long as it is told",
                     Json{{"seconds", {{"type", "number"}}}, {"label", text}}, {}, slow_compute);
    slow.may_be_task = true;
    out.push_back(std::move(slow));
    auto needing = [&](Tool t) {
        t.needs_task = true;
        out.push_back(std::move(t));
    };
    needing(tool("failing_job", "Ends with a failed result", none, {}, failing_job));
    needing(tool("protocol_error_job", "Ends with a protocol error", none, {}, protocol_error_job));
    needing(tool("confirm_delete", "Asks before it deletes", Json{{"filename", text}}, {}, confirm_delete));
    needing(tool("multi_input", "Asks two things at once", none, {}, multi_input));
    auto later = tool("test_tool_with_task", "Asks, then works for a while", none, {}, ask_then_work);
    later.may_be_task = true;
    out.push_back(std::move(later));
    return out;
}

}  // namespace fixtures
