#include "question.hpp"

namespace mcp {
namespace {

Json const* member(Json const& object, char const* name) {
    if (!object.is_object()) return nullptr;
    auto const it = object.find(name);
    return it == object.end() || !it->is_object() ? nullptr : &*it;
}

}  // namespace

Json missing_capabilities(std::vector<Question> const& questions, Json const& declared) {
    Json missing;
    for (auto const& question : questions) {
        if (question.method == "roots/list") {
            if (!member(declared, "roots")) missing["roots"] = Json::object();
        } else if (question.method == "sampling/createMessage") {
            auto const* sampling = member(declared, "sampling");
            if (!sampling) missing["sampling"] = Json::object();
            if (question.params.contains("tools") && !(sampling && member(*sampling, "tools")))
                missing["sampling"]["tools"] = Json::object();
        } else if (question.method == "elicitation/create") {
            auto const mode = question.params.value("mode", "form");
            auto const* elicitation = member(declared, "elicitation");
            // {} means form only, for clients of revisions that had no modes.
            bool const has = elicitation &&
                             (member(*elicitation, mode.c_str()) || (mode == "form" && elicitation->empty()));
            if (!has) missing["elicitation"][mode] = Json::object();
        } else {
            throw rpc_exception(code::internal_error, "A tool asked the client an unknown question");
        }
    }
    return missing;
}

Json input_requests(std::vector<Question> const& questions) {
    Json out = Json::object();
    for (auto const& question : questions)
        out[question.key] = {{"method", question.method}, {"params", question.params}};
    return out;
}

void check_answer(std::string const& method, Json const& answer) {
    auto const fail = [&method](char const* why) {
        throw bad_params("Invalid params: the answer to " + method + ' ' + why);
    };
    if (!answer.is_object()) fail("is an object");
    if (method == "elicitation/create") {
        auto const action = answer.find("action");
        if (action == answer.end() || (*action != "accept" && *action != "decline" && *action != "cancel"))
            fail("has an action: accept, decline or cancel");
        if (answer.contains("content") && !answer["content"].is_object()) fail("has an object as content");
    } else if (method == "sampling/createMessage") {
        auto const content = answer.find("content");
        if (content == answer.end() || !(content->is_object() || content->is_array())) fail("has content");
    } else if (method == "roots/list") {
        auto const roots = answer.find("roots");
        if (roots == answer.end() || !roots->is_array()) fail("has an array of roots");
    }
}

void check_answers(Json const& input_responses) {
    if (input_responses.is_null()) return;
    if (!input_responses.is_object()) throw bad_params("Invalid params: \"inputResponses\" is an object");
    for (auto const& answer : input_responses)
        if (!answer.is_object())
            throw bad_params("Invalid params: each entry of \"inputResponses\" is an object");
}

}  // namespace mcp
