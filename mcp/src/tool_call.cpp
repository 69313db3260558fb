#include "endpoint.hpp"

namespace mcp {
namespace {

Json to_json(ToolResult result, bool modern) {
    Json out = Json::object();
    // Clients that know no structured content still get it, as text.
    if (result.content.empty() && !result.structured.is_null())
        result.content.push_back({{"type", "text"}, {"text", base::dump(result.structured)}});
    out["content"] = std::move(result.content);
    if (!result.structured.is_null() && (modern || result.structured.is_object()))
        out["structuredContent"] = std::move(result.structured);
    if (result.is_error) out["isError"] = true;
    if (!result.meta.is_null()) out["_meta"] = std::move(result.meta);
    return out;
}

/// A call that may become a task: its request waits a while, then leaves it to the task.
struct Job {
    explicit Job(asio::any_io_executor executor) : done(std::move(executor)) {}
    std::optional<Json> result;
    std::exception_ptr thrown;
    Wake done;
    std::shared_ptr<TaskRecord> task;
    std::shared_ptr<Running> running = std::make_shared<Running>();

    void end() {
        if (!task) return done.notify();
        task->finish(thrown ? Answer::failure(error_from(thrown)) : Answer{std::move(*result), {}, 200});
    }
};

/// `keeper` owns the fixed tools.
Task<void> run_job(std::shared_ptr<Job> job, [[maybe_unused]] std::shared_ptr<Endpoint> keeper,
                   std::shared_ptr<Tool const> tool, Json arguments, std::shared_ptr<ActiveCall> call) {
    try {
        job->result = to_json(co_await tool->run(std::move(arguments), *call), true);
    } catch (...) {
        job->thrown = std::current_exception();
    }
    job->end();
}

std::function<void(std::string)> status_of(std::shared_ptr<TaskRecord> const& task) {
    return [weak = std::weak_ptr(task)](std::string message) {
        if (auto const record = weak.lock()) record->say(std::move(message));
    };
}

}  // namespace

ToolResult ToolResult::text(std::string text, Json structured) {
    ToolResult out;
    out.content.push_back({{"type", "text"}, {"text", std::move(text)}});
    out.structured = std::move(structured);
    return out;
}

ToolResult ToolResult::failure(std::string message, Json structured) {
    auto out = text(std::move(message), std::move(structured));
    out.is_error = true;
    return out;
}

RpcError error_from(std::exception_ptr thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (RpcException const& e) {
        return e.error;
    } catch (...) {
        return RpcError{code::internal_error, "Internal error", nullptr};
    }
}

Task<Json> Endpoint::call_tool(Json params, std::shared_ptr<ActiveCall> call) {
    auto const name = string_param(params, "name");
    auto const tool = find_tool(name, call->caller());
    if (!tool) throw bad_params("Unknown tool: " + name.substr(0, 128));
    Json arguments = Json::object();
    if (auto const it = params.find("arguments"); it != params.end() && !it->is_null()) {
        if (!it->is_object()) throw bad_params("Invalid params: \"arguments\" is an object");
        arguments = std::move(*it);
    }
    bool const can_task = call->modern() && call->client_has_extension(kTasksExtension);
    if (tool->needs_task && !can_task) {
        if (!call->modern())
            throw rpc_exception(code::method_not_found,
                                name + " runs only as a task, which this revision lacks here");
        Json extensions = Json::object();
        extensions[std::string(kTasksExtension)] = Json::object();
        Json const data{{"requiredCapabilities", {{"extensions", std::move(extensions)}}}};
        throw rpc_exception(code::missing_capability, "Missing required client capability", data);
    }
    if (can_task && (tool->needs_task || tool->may_be_task))
        co_return co_await call_as_task(tool, std::move(arguments), call);
    auto result = co_await tool->run(std::move(arguments), *call);
    co_return to_json(std::move(result), call->modern());
}

Task<Json> Endpoint::call_as_task(std::shared_ptr<Tool const> tool, Json arguments, std::shared_ptr<ActiveCall> call) {
    auto const job = std::make_shared<Job>(executor);
    auto const adopt = [&] {
        auto task = tasks.create(call->caller().principal, call->client_capabilities());
        if (task) {
            call->become_task(task, status_of(task));
            job->task = task;
        }
        return task;
    };
    if (tool->needs_task) {
        // It has to be a task before it asks or says anything.
        auto const task = adopt();
        if (!task) throw rpc_exception(code::internal_error, "Too many tasks are running; try again later");
        task->running = job->running;
        spawn(job->running, run_job(job, shared_from_this(), tool, std::move(arguments), call));
        Json out = task->show();
        out["resultType"] = "task";
        co_return out;
    }

    spawn(job->running, run_job(job, shared_from_this(), tool, std::move(arguments), call));
    bool const throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    bool done = co_await job->done.wait(options.task_after);
    bool gone = co_await cancelled();
    if (!done && !gone) {
        if (auto const task = adopt()) {
            task->running = job->running;
            co_await asio::this_coro::throw_if_cancelled(throws);
            Json out = task->show();
            out["resultType"] = "task";
            co_return out;
        }
    }
    while (!done && !gone) {  // no place for a task: the request waits as others do
        done = co_await job->done.wait(options.task_ttl);
        gone = co_await cancelled();
    }
    co_await asio::this_coro::throw_if_cancelled(throws);
    if (!done) {
        job->running->cancel();
        throw rpc_exception(code::internal_error, "Cancelled");
    }
    if (job->thrown) std::rethrow_exception(job->thrown);
    co_return std::move(*job->result);
}

}  // namespace mcp
