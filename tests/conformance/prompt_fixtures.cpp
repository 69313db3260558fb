#include "fixtures.hpp"

namespace fixtures {
namespace {

Json user(Json content) { return {{"role", "user"}, {"content", std::move(content)}}; }
Json user_text(std::string text) { return user({{"type", "text"}, {"text", std::move(text)}}); }

Json messages(std::vector<Json> list) {
    Json out = Json::object();
    out["messages"] = std::move(list);
    return out;
}

Task<Json> simple(Json, Call&) { co_return messages({user_text("This is a simple prompt for testing.")}); }

Task<Json> with_arguments(Json arguments, Call&) {
    co_return messages({user_text("Prompt with arguments: arg1='" + arguments.value("arg1", "") +
                                  "', arg2='" + arguments.value("arg2", "") + '\'')});
}

Task<Json> with_resource(Json arguments, Call&) {
    Json const resource{{"uri", arguments.value("resourceUri", "")},
                        {"mimeType", "text/plain"},
                        {"text", "Embedded content."}};
    co_return messages({user({{"type", "resource"}, {"resource", resource}}),
                        user_text("Please process the resource above.")});
}

Task<Json> with_image(Json, Call&) {
    co_return messages({user({{"type", "image"}, {"data", kPng}, {"mimeType", "image/png"}}),
                        user_text("Describe the image.")});
}

Task<Json> asking_prompt(Json, Call& call) {
    std::vector<mcp::Question> questions;
    questions.push_back(
        form("user_context", "What is the context?", Json{{"context", {{"type", "string"}}}}, {"context"}));
    auto const answers = co_await call.ask(std::move(questions));
    co_return messages({user_text("Context: " + content_of(answers.at("user_context"), "context"))});
}

mcp::Prompt prompt(char const* name, char const* description, std::vector<std::string> arguments,
                   std::function<Task<Json>(Json, Call&)> get) {
    Json definition{{"name", name}, {"description", description}};
    for (auto const& argument : arguments)
        definition["arguments"].push_back(
            {{"name", argument}, {"description", argument}, {"required", true}});
    return {std::move(definition), std::move(get)};
}

}  // namespace

std::vector<mcp::Prompt> prompts() {
    std::vector<mcp::Prompt> out;
    out.push_back(prompt("test_simple_prompt", "A simple prompt", {}, simple));
    out.push_back(prompt("test_prompt_with_arguments", "A prompt with two arguments", {"arg1", "arg2"},
                         with_arguments));
    out.push_back(prompt("test_prompt_with_embedded_resource", "A prompt with a resource", {"resourceUri"},
                         with_resource));
    out.push_back(prompt("test_prompt_with_image", "A prompt with an image", {}, with_image));
    out.push_back(prompt("test_input_required_result_prompt", "A prompt that asks first", {}, asking_prompt));
    return out;
}

}  // namespace fixtures
