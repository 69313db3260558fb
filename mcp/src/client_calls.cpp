#include "client_calls.hpp"

#include "client_headers.hpp"
#include "question.hpp"
#include <base/timeout.hpp>

namespace mcp {
namespace {

constexpr std::size_t kMaxQuestionsPerRound = 32;
constexpr base::milliseconds kFirstPoll{100}, kMaxPoll{5'000};

std::string const& string_in(Json const& object, char const* name) {
    static std::string const none;
    auto const it = object.find(name);
    return it != object.end() && it->is_string() ? it->get_ref<std::string const&>() : none;
}

Failure wrong(std::string const& method, std::string what) {
    return failure(base::errc::invalid, "the server's answer to " + method + ' ' + std::move(what), true);
}

bool has_rounds(std::string const& method) {
    return method == "tools/call" || method == "prompts/get" || method == "resources/read";
}

/// Nothing, or what is wrong with a complete result.
std::string fault_of(std::string const& method, Json const& result) {
    auto const array = [&](char const* name) {
        auto const it = result.find(name);
        if (it == result.end() || !it->is_array()) return false;
        for (auto const& entry : *it)
            if (!entry.is_object()) return false;
        return true;
    };
    if (method == "tools/call") {
        if (!array("content")) return "has no content, an array of blocks";
        for (auto const& block : result["content"])
            if (string_in(block, "type").empty()) return "has a content block without a type";
        if (auto const it = result.find("isError"); it != result.end() && !it->is_boolean())
            return "has an isError that is no boolean";
    } else if (method == "prompts/get") {
        if (!array("messages")) return "has no messages, an array of objects";
    } else if (method == "resources/read") {
        if (!array("contents")) return "has no contents, an array of objects";
    } else if (method == "completion/complete") {
        auto const it = result.find("completion");
        if (it == result.end() || !it->is_object() || !it->contains("values") || !(*it)["values"].is_array())
            return "has no completion with an array of values";
        if ((*it)["values"].size() > 100) return "has more than 100 values";
        for (auto const& value : (*it)["values"])
            if (!value.is_string()) return "has a value that is no string";
    }
    return {};
}

/// The questions of an input_required result, or what is wrong with them.
Outcome<std::vector<Question>> questions_of(std::string const& method, Json const& requests,
                                            Json const& declared) {
    std::vector<Question> out;
    if (requests.is_null()) return out;
    if (!requests.is_object() || requests.size() > kMaxQuestionsPerRound)
        return wrong(method, "has malformed inputRequests");
    for (auto const& [key, request] : requests.items()) {
        auto const& asked =
            request.is_object() ? string_in(request, "method") : string_in(Json::object(), "");
        if (asked != "elicitation/create" && asked != "sampling/createMessage" && asked != "roots/list")
            return wrong(method, "asks something unknown, " + excerpt(asked));
        auto params = request.value("params", Json::object());
        if (!params.is_object()) return wrong(method, "has malformed inputRequests");
        if (params.contains("mode") && !params["mode"].is_string())
            return wrong(method, "has malformed inputRequests");
        out.push_back({key, asked, std::move(params)});
    }
    if (auto const missing = missing_capabilities(out, declared); !missing.is_null())
        return wrong(method, "asks for what was not offered: " + base::dump(missing));
    return out;
}

Task<Outcome<Json>> answer_all(std::shared_ptr<ClientCore> core, std::shared_ptr<CallOptions const> call,
                               std::vector<Question> questions) {
    Json answers = Json::object();
    std::string refused;
    for (auto& question : questions) {
        auto const key = question.key;
        auto const method = question.method;
        try {
            auto asking = ask_for(core, call, std::move(question));
            answers[key] = co_await std::move(asking);
        } catch (RpcException const& e) {
            refused = method + " was refused: " + e.error.message;
        }
        if (!refused.empty()) co_return failure(base::errc::denied, refused, true);
    }
    co_return answers;
}

/// Follows one task of either era to the result of its request.
class TaskFollower {
  public:
    TaskFollower(std::shared_ptr<ClientCore> core, std::shared_ptr<CallOptions const> call,
                 std::string method)
        : core_(std::move(core)), call_(std::move(call)), method_(std::move(method)) {
        auto plain = std::make_shared<CallOptions>();
        plain->capabilities = call_->capabilities;
        plain_ = std::move(plain);
    }

    /// `task` as the server made it; legacy: without its wrapper.
    Task<Outcome<Json>> follow(Json task) {
        auto const id = string_in(task, "taskId");
        if (id.empty()) co_return wrong(method_, "is a task without an id");
        auto const end = base::Clock::now() + core_->options.request_hard_limit;
        bool const throws = co_await asio::this_coro::throw_if_cancelled();
        co_await asio::this_coro::throw_if_cancelled(false);
        auto following = follow_to_end(id, std::move(task), end);
        auto result = co_await std::move(following);
        bool const gone = co_await cancelled();
        co_await asio::this_coro::throw_if_cancelled(throws);
        if (gone || (!result && base::is(result.error().error, base::errc::timed_out))) {
            // Nobody waits any more; the server may stop. The request is on its way when we are gone.
            core_->spawn(cancel_task(core_, plain_, id));
            if (gone) co_return failure(base::errc::cancelled, "cancelled by the caller", true);
        }
        co_return result;
    }

  private:
    static Task<void> cancel_task(std::shared_ptr<ClientCore> core, std::shared_ptr<CallOptions const> call,
                                  std::string id) {
        auto params = Json::object();
        params["taskId"] = id;
        auto cancelling = core->roundtrip("tasks/cancel", std::move(params), std::move(call));
        co_await std::move(cancelling);
    }

    Task<Outcome<Json>> ask(std::string method, std::string id, Json more) {
        auto params = std::move(more);
        params["taskId"] = std::move(id);
        co_return co_await core_->roundtrip(std::move(method), std::move(params), plain_);
    }

    Task<Outcome<Json>> follow_to_end(std::string id, Json task, base::Clock::time_point end) {
        std::set<std::string> answered;
        for (;;) {
            auto const status = string_in(task, "status");
            if (status == "completed" || (status == "failed" && !core_->modern())) {
                if (!core_->modern()) {
                    auto fetching = ask("tasks/result", id, Json::object());
                    co_return co_await std::move(fetching);
                }
                auto const result = task.find("result");
                if (result == task.end() || !result->is_object())
                    co_return wrong("tasks/get", "is a completed task without a result");
                co_return *result;
            }
            if (status == "failed") {
                Failure failed;
                auto const& error = task.value("error", Json::object());
                failed.rpc = RpcError{code::internal_error, string_in(error, "message"),
                                      error.value("data", Json(nullptr))};
                if (error.contains("code") && error["code"].is_number_integer())
                    failed.rpc->code = error["code"].get<int>();
                co_return failed;
            }
            if (status == "cancelled")
                co_return failure(base::errc::cancelled, "the server cancelled the task", true);
            if (status != "working" && status != "input_required" && status != "submitted")
                co_return wrong("tasks/get", "has the unknown status " + excerpt(status));
            if (status == "input_required" && !core_->modern()) {
                // The questions come as requests while tasks/result waits.
                auto fetching = ask("tasks/result", id, Json::object());
                co_return co_await std::move(fetching);
            }
            if (status == "input_required") {
                auto answering = answer(id, task, answered);
                auto const fed = co_await std::move(answering);
                if (!fed) co_return fed.error();
            }
            if (base::Clock::now() >= end)
                co_return failure(base::errc::timed_out, "the task did not end in time", true);
            auto pause = kFirstPoll;
            for (auto const* name : {"pollIntervalMs", "pollInterval"})
                if (auto const it = task.find(name); it != task.end() && it->is_number_unsigned())
                    pause = base::milliseconds(
                        std::min<std::uint64_t>(it->get<std::uint64_t>(), kMaxPoll.count()));
            co_await base::sleep_for(std::max(pause, kFirstPoll));
            bool const gone = co_await cancelled();
            if (gone) co_return failure(base::errc::cancelled, "cancelled by the caller", true);
            auto polling = ask("tasks/get", id, Json::object());
            auto polled = co_await std::move(polling);
            if (!polled) co_return polled;
            task = std::move(*polled);
            if (call_->on_progress && !string_in(task, "statusMessage").empty()) {
                Progress progress;
                progress.progress = ++polls_;
                progress.message = string_in(task, "statusMessage");
                call_->on_progress(std::move(progress));
            }
        }
    }

    Task<Outcome<bool>> answer(std::string id, Json task, std::set<std::string>& answered) {
        auto const& declared = call_->capabilities ? *call_->capabilities : core_->options.capabilities;
        auto open = questions_of("tasks/get", task.value("inputRequests", Json(nullptr)), declared);
        if (!open) co_return open.error();
        std::erase_if(*open, [&](auto const& question) { return answered.contains(question.key); });
        if (open->empty()) co_return true;
        for (auto const& question : *open) answered.insert(question.key);
        auto asking = answer_all(core_, call_, std::move(*open));
        auto answers = co_await std::move(asking);
        if (!answers) co_return answers.error();
        Json more = Json::object();
        more["inputResponses"] = std::move(*answers);
        auto updating = ask("tasks/update", id, std::move(more));
        auto const updated = co_await std::move(updating);
        if (!updated) co_return updated.error();
        co_return true;
    }

    std::shared_ptr<ClientCore> core_;
    std::shared_ptr<CallOptions const> call_, plain_;
    std::string method_;
    double polls_ = 0;
};

Task<Outcome<Json>> checked(std::string method, Outcome<Json> result) {
    if (!result) co_return result;
    if (auto const fault = fault_of(method, *result); !fault.empty()) co_return wrong(method, fault);
    co_return result;
}

Task<Outcome<Json>> legacy_call(std::shared_ptr<ClientCore> core, std::string method, Json params,
                                std::shared_ptr<CallOptions const> call) {
    if (call->task_ttl) params["task"] = Json{{"ttl", call->task_ttl->count()}};
    auto making = core->roundtrip(method, std::move(params), call);
    auto result = co_await std::move(making);
    if (!result) co_return result;
    if (call->task_ttl && result->contains("task") && (*result)["task"].is_object()) {
        if (!call->follow_task) co_return result;
        TaskFollower follower(core, call, method);
        auto following = follower.follow((*result)["task"]);
        result = co_await std::move(following);
    }
    co_return co_await checked(std::move(method), std::move(result));
}

Task<Outcome<Json>> modern_call(std::shared_ptr<ClientCore> core, std::string method, Json params,
                                std::shared_ptr<CallOptions const> call) {
    Json responses = call->input_responses;
    auto state = call->request_state;
    auto pause = kFirstPoll;
    for (unsigned round = 0;; ++round) {
        auto with = params;
        if (!responses.is_null()) with["inputResponses"] = std::move(responses);
        if (state) with["requestState"] = *state;
        auto making = core->roundtrip(method, std::move(with), call);
        auto result = co_await std::move(making);
        if (!result) co_return result;
        auto const it = result->find("resultType");
        std::string const type = it == result->end() ? "complete"
                                 : it->is_string()   ? it->get<std::string>()
                                                     : "";
        if (type == "complete") co_return co_await checked(std::move(method), std::move(result));
        if (type == "task" && method == "tools/call") {
            if (!call->follow_task) co_return result;
            TaskFollower follower(core, call, method);
            auto following = follower.follow(std::move(*result));
            auto followed = co_await std::move(following);
            co_return co_await checked(std::move(method), std::move(followed));
        }
        if (type != "input_required" || !has_rounds(method))
            co_return wrong(method, "is of the unknown kind " + excerpt(type));
        if (call->raw_rounds) co_return result;
        if (round >= core->options.max_rounds)
            co_return failure(
                base::errc::limit,
                "the server asked for input more than " + std::to_string(core->options.max_rounds) + " times",
                true);
        // Both are for the next request only: a state that is not given is not sent.
        state.reset();
        if (auto const given = result->find("requestState"); given != result->end()) {
            if (!given->is_string()) co_return wrong(method, "has a requestState that is no string");
            state = given->get<std::string>();
        }
        auto const requests = result->value("inputRequests", Json(nullptr));
        if (requests.is_null() && !state) co_return wrong(method, "needs input but does not say which");
        auto questions = questions_of(method, requests,
                                      call->capabilities ? *call->capabilities : core->options.capabilities);
        if (!questions) co_return questions.error();
        responses = nullptr;
        if (questions->empty()) {
            co_await base::sleep_for(pause);
            pause = std::min(pause * 2, kMaxPoll);
            continue;
        }
        auto answering = answer_all(core, call, std::move(*questions));
        auto answers = co_await std::move(answering);
        if (!answers) co_return answers;
        responses = std::move(*answers);
    }
}

}  // namespace

Task<Outcome<Json>> make_call(std::shared_ptr<ClientCore> core, std::string method, Json params,
                              CallOptions options) {
    if (!core->open)
        co_return failure(base::errc::unavailable,
                          core->reason.empty() ? "the connection is not open" : core->reason);
    auto const call = std::make_shared<CallOptions const>(std::move(options));
    if (!params.is_object()) params = Json::object();
    if (!core->modern()) {
        auto making = legacy_call(core, std::move(method), std::move(params), call);
        co_return co_await std::move(making);
    }
    auto again = params;
    auto making = modern_call(core, method, std::move(params), call);
    auto result = co_await std::move(making);
    bool const mismatch = !result && result.error().rpc && result.error().rpc->code == code::header_mismatch;
    if (!mismatch || method != "tools/call" || !core->link->http()) co_return result;
    // Refused unseen: our picture of the tool's annotations is old.
    auto listing = read_list(core, "tools/list", "tools");
    auto tools = co_await std::move(listing);
    if (!tools) co_return result;
    usable_tools(*core, std::move(*tools));
    auto repeating = modern_call(core, std::move(method), std::move(again), call);
    co_return co_await std::move(repeating);
}

Task<Outcome<Json>> read_list(std::shared_ptr<ClientCore> core, std::string method, std::string key) {
    auto const call = std::make_shared<CallOptions const>();
    Json all = Json::array();
    std::optional<std::string> cursor;
    std::size_t bytes = 0;
    for (std::size_t page = 0; page < core->options.max_pages; ++page) {
        Json params = Json::object();
        if (cursor) params["cursor"] = *cursor;
        auto asking = core->roundtrip(method, std::move(params), call);
        auto result = co_await std::move(asking);
        if (!result) co_return result;
        if (core->modern() && result->contains("resultType") && (*result)["resultType"] != "complete")
            co_return wrong(method, "is not complete");
        bytes += base::dump(*result).size();
        if (bytes > core->options.max_message_bytes)
            co_return failure(base::errc::limit, "the server's list of " + key + " is larger than " +
                                                     std::to_string(core->options.max_message_bytes) + " bytes");
        auto const items = result->find(key);
        if (items == result->end() || !items->is_array())
            co_return wrong(method, "has no array \"" + key + '"');
        for (auto& item : *items) {
            if (!item.is_object()) co_return wrong(method, "lists something that is no object");
            all.push_back(std::move(item));
        }
        if (all.size() > core->options.max_items)
            co_return failure(base::errc::limit, "the server lists more than " +
                                                     std::to_string(core->options.max_items) + ' ' + key);
        auto const next = result->find("nextCursor");
        if (next == result->end() || next->is_null()) co_return all;
        if (!next->is_string()) co_return wrong(method, "has a cursor that is no string");
        cursor = next->get<std::string>();
    }
    co_return failure(base::errc::limit, "the server lists its " + key + " on more than " +
                                             std::to_string(core->options.max_pages) + " pages");
}

Json usable_tools(ClientCore& core, Json tools) {
    Json out = Json::array();
    core.header_params.clear();
    std::set<std::string> names;
    for (auto& tool : tools) {
        auto const name = string_in(tool, "name");
        std::string fault;
        auto const schema = tool.find("inputSchema");
        if (name.empty() || name.size() > 128) {
            fault = "its name is not 1 to 128 characters long";
        } else if (names.contains(name)) {
            fault = "the server lists it twice";
        } else if (schema == tool.end() || !schema->is_object() ||
                   schema->value("type", Json(nullptr)) != "object") {
            fault = "its inputSchema is not of type \"object\"";
        } else if (core.modern() && core.link->http()) {
            if (auto params = header_params_of(tool); !params) {
                fault = params.error().context;
            } else if (!params->empty()) {
                core.header_params[name] = std::move(*params);
            }
        }
        if (!fault.empty()) {
            if (core.events) core.events->tool_dropped(name, std::move(fault));
            continue;
        }
        names.insert(name);
        out.push_back(std::move(tool));
    }
    return out;
}

}  // namespace mcp
