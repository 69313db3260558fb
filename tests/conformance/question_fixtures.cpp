#include "fixtures.hpp"

namespace fixtures {
namespace {

using Answers = std::map<std::string, Json>;

Task<ToolResult> ask_user(std::vector<mcp::Question> questions, Json state, Call& call, std::string said) {
    auto const answers = co_await call.ask(std::move(questions), std::move(state));
    for (auto const& [key, answer] : answers) said += ' ' + base::dump(answer);
    co_return ToolResult::text(std::move(said));
}

/// Asks the same questions every time and tells the answers.
Run asking(std::vector<mcp::Question> questions, Json state = nullptr, std::string said = "Answers:") {
    return [questions = std::move(questions), state = std::move(state), said = std::move(said)](
               Json, Call& call) { return ask_user(questions, state, call, said); };
}

Task<ToolResult> ask_with_text(Json arguments, Call& call, bool sample) {
    auto const text = arguments.value(sample ? "prompt" : "message", "Please answer");
    std::vector<mcp::Question> questions;
    if (sample) {
        questions.push_back(sampling("sample", text));
    } else {
        Json const fields{{"username", {{"type", "string"}, {"description", "User's name"}}},
                          {"email", {{"type", "string"}, {"description", "User's email address"}}}};
        questions.push_back(form("user", text, fields, {"username", "email"}));
    }
    return ask_user(std::move(questions), nullptr, call, sample ? "LLM response:" : "User response:");
}

Json defaults() {
    return {
        {"name", {{"type", "string"}, {"default", "John Doe"}}},
        {"age", {{"type", "integer"}, {"default", 30}}},
        {"score", {{"type", "number"}, {"default", 95.5}}},
        {"status", {{"type", "string"}, {"enum", {"active", "inactive", "pending"}}, {"default", "active"}}},
        {"verified", {{"type", "boolean"}, {"default", true}}}};
}

Json titled(std::string const& prefix) {
    Json out = Json::array();
    for (auto const* n : {"1", "2", "3"})
        out.push_back({{"const", prefix + n}, {"title", "Option " + std::string(n)}});
    return out;
}

Json enums() {
    Json const options{"option1", "option2", "option3"};
    return {{"untitledSingle", {{"type", "string"}, {"enum", options}}},
            {"titledSingle", {{"type", "string"}, {"oneOf", titled("value")}}},
            {"legacyEnum",
             {{"type", "string"},
              {"enum", {"opt1", "opt2", "opt3"}},
              {"enumNames", {"Option One", "Option Two", "Option Three"}}}},
            {"untitledMulti", {{"type", "array"}, {"items", {{"type", "string"}, {"enum", options}}}}},
            {"titledMulti", {{"type", "array"}, {"items", {{"anyOf", titled("value")}}}}}};
}

mcp::Question user_name() {
    return form("user_name", "What is your name?", Json{{"name", {{"type", "string"}}}}, {"name"});
}

mcp::Question favourite_colour() {
    return form("step2", "What is your favourite colour?", Json{{"color", {{"type", "string"}}}}, {"color"});
}

mcp::Question confirm() {
    return form("confirm", "Please confirm", Json{{"ok", {{"type", "boolean"}}}}, {"ok"});
}

Task<ToolResult> two_rounds(Json, Call& call) {
    std::vector<mcp::Question> first, second;
    first.push_back(user_name());
    first.front().key = "step1";
    second.push_back(favourite_colour());
    Json one = 1, two = 2;
    auto const name = co_await call.ask(std::move(first), std::move(one));
    auto const color = co_await call.ask(std::move(second), std::move(two));
    co_return ToolResult::text("Name " + content_of(name.at("step1"), "name") + ", colour " +
                               content_of(color.at("step2"), "color"));
}

Task<ToolResult> by_capability(Json, Call& call) {
    std::vector<mcp::Question> questions;
    auto const& declared = call.client_capabilities();
    if (declared.contains("sampling"))
        questions.push_back(sampling("capital_question", "What is the capital of France?"));
    if (declared.contains("elicitation")) questions.push_back(user_name());
    if (declared.contains("roots")) questions.push_back(roots("client_roots"));
    if (questions.empty()) co_return ToolResult::text("The client can answer nothing.");
    co_return co_await ask_user(std::move(questions), nullptr, call, "Answers:");
}

}  // namespace

mcp::Question form(std::string key, std::string message, Json properties, std::vector<std::string> required) {
    Json const schema{
        {"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
    Json params{{"mode", "form"}, {"message", std::move(message)}, {"requestedSchema", schema}};
    return {std::move(key), "elicitation/create", std::move(params)};
}

mcp::Question sampling(std::string key, std::string prompt) {
    Json const message{{"role", "user"}, {"content", {{"type", "text"}, {"text", std::move(prompt)}}}};
    Json params{{"messages", Json::array({message})}, {"maxTokens", 100}};
    return {std::move(key), "sampling/createMessage", std::move(params)};
}

mcp::Question roots(std::string key) { return {std::move(key), "roots/list", Json::object()}; }

std::string content_of(Json const& answer, std::string const& name) {
    auto const content = answer.value("content", Json::object());
    auto const it = content.find(name);
    return it != content.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::vector<Tool> question_tools() {
    auto const none = Json::object();
    std::vector<Tool> out;
    out.push_back(
        tool("test_sampling", "Asks the client's model", Json{{"prompt", {{"type", "string"}}}}, {"prompt"},
             [](Json arguments, Call& call) { return ask_with_text(std::move(arguments), call, true); }));
    out.push_back(tool(
        "test_elicitation", "Asks the client's user", Json{{"message", {{"type", "string"}}}}, {"message"},
        [](Json arguments, Call& call) { return ask_with_text(std::move(arguments), call, false); }));
    out.push_back(
        tool("test_elicitation_sep1034_defaults", "Asks with defaults", none, {},
             asking({form("user", "Please review", defaults(), {})}, nullptr, "Elicitation completed:")));
    out.push_back(
        tool("test_elicitation_sep1330_enums", "Asks for choices", none, {},
             asking({form("user", "Please choose", enums(), {})}, nullptr, "Elicitation completed:")));
    out.push_back(tool("test_missing_capability", "Needs sampling", none, {},
                       asking({sampling("sample", "Say something")})));
    out.push_back(
        tool("test_streaming_elicitation", "Asks the client's user", none, {}, asking({user_name()})));

    std::string const prefix = "test_input_required_result_";
    auto const add = [&](std::string const& name, std::string description, Run run) {
        out.push_back(tool(prefix + name, std::move(description), none, {}, std::move(run)));
    };
    add("elicitation", "Asks for a name", asking({user_name()}, nullptr, "Hello"));
    add("sampling", "Asks the client's model",
        asking({sampling("capital_question", "What is the capital of France?")}));
    add("list_roots", "Asks for the client's roots", asking({roots("client_roots")}, nullptr, "Roots:"));
    add("request_state", "Keeps state between rounds", asking({confirm()}, Json{{"kept", true}}, "state-ok"));
    add("multiple_inputs", "Asks three things at once",
        asking({user_name(), sampling("greeting", "Write a greeting"), roots("client_roots")},
               Json{{"kept", true}}));
    add("multi_round", "Asks twice", two_rounds);
    add("tampered_state", "Refuses altered state", asking({confirm()}, Json{{"kept", true}}, "state-ok"));
    add("capabilities", "Asks what the client can answer", by_capability);
    return out;
}

}  // namespace fixtures
