#include "endpoint.hpp"

#include "headers.hpp"
#include <base/timeout.hpp>

namespace mcp {
namespace {

constexpr base::milliseconds kCursorTtl{24 * 3'600'000};
constexpr std::size_t kMaxCompletions = 100;  // MCP: at most 100 values

std::string cursor_of(Json const& params) {
    auto const it = params.find("cursor");
    if (it == params.end() || it->is_null()) return {};
    if (!it->is_string()) throw bad_params("Invalid params: \"cursor\" is a string");
    return it->get<std::string>();
}

RpcException bad_cursor() { return bad_params("Invalid params: unknown or expired cursor"); }

/// Clients before 2026-07-28 take schemas of objects only.
Json legacy_definition(Json definition) {
    auto const schema = definition.find("outputSchema");
    if (schema != definition.end() && schema->value("type", Json(nullptr)) != "object")
        definition.erase(schema);
    return definition;
}

}  // namespace

std::string string_param(Json const& params, char const* name) {
    auto const it = params.find(name);
    if (it == params.end() || !it->is_string())
        throw bad_params(std::string("Invalid params: \"") + name + "\" is required and a string");
    return it->get<std::string>();
}

Endpoint::Endpoint(asio::io_context& io, Features f, ServerOptions o)
    : executor(io.get_executor()),
      features(std::move(f)),
      options(o),
      seal(features.state_key),
      tasks(executor, listeners, options.max_tasks, options.task_ttl) {
    server_info = {{"name", features.name}, {"version", features.version}};
    if (!features.title.empty()) server_info["title"] = features.title;
    for (auto const& tool : features.tools)
        if (auto params = find_header_params(tool.definition); !params.empty())
            header_params_[tool.name] = std::move(params);
}

Json Endpoint::capabilities(bool modern) const {
    Json out = Json::object();
    if (!features.tools.empty() || features.more) out["tools"] = {{"listChanged", true}};
    if (!features.prompts.empty() || features.more) out["prompts"] = {{"listChanged", true}};
    if (features.resources) out["resources"] = {{"subscribe", true}, {"listChanged", true}};
    if (features.logging) out["logging"] = Json::object();
    if (features.complete) out["completions"] = Json::object();
    bool const has_tasks = std::any_of(features.tools.begin(), features.tools.end(),
                                       [](Tool const& t) { return t.may_be_task || t.needs_task; });
    if (modern && (has_tasks || features.more)) out["extensions"][std::string(kTasksExtension)] = Json::object();
    return out;
}

std::shared_ptr<Tool const> Endpoint::find_tool(std::string const& name, Caller const& caller) const {
    auto const& sets = caller.toolsets.empty() ? features.default_toolsets : caller.toolsets;
    for (auto const& tool : features.tools) {
        if (tool.name != name) continue;
        if (!sets.contains(tool.toolset)) return nullptr;
        return {std::shared_ptr<void>(), &tool};  // owned by `features`
    }
    return features.more ? features.more->tool(name, caller) : nullptr;
}

std::vector<HeaderParam> Endpoint::header_params(Tool const& tool) const {
    if (auto const it = header_params_.find(tool.name); it != header_params_.end()) return it->second;
    bool const fixed = !features.tools.empty() && &tool >= features.tools.data() &&
                       &tool < features.tools.data() + features.tools.size();
    return fixed ? std::vector<HeaderParam>() : find_header_params(tool.definition);
}

Task<std::optional<Json>> Endpoint::handle(std::string method, Json params,
                                           std::shared_ptr<ActiveCall> call) {
    std::optional<Json> out;
    if (!features.tools.empty() || features.more) {
        if (method == "tools/call")
            out = co_await call_tool(std::move(params), call);
        else if (method == "tools/list")
            out = list_tools(params, *call);
        if (out) co_return out;
    }
    if (!features.prompts.empty() || features.more) {
        if (method == "prompts/list")
            out = list_prompts(params, *call);
        else if (method == "prompts/get")
            out = co_await get_prompt(std::move(params), call);
        if (out) co_return out;
    }
    if (features.resources) {
        if (method == "resources/list")
            out = co_await list_resources(std::move(params), call);
        else if (method == "resources/templates/list")
            out = co_await list_templates(call);
        else if (method == "resources/read")
            out = co_await read_resource(std::move(params), call);
        if (out) co_return out;
    }
    if (features.complete && method == "completion/complete")
        out = co_await complete(std::move(params), call);
    co_return out;
}

Json Endpoint::page(std::vector<Json const*> const& all, char const* member, Json const& params,
                    std::string const& binding) const {
    std::size_t begin = 0;
    if (auto const cursor = cursor_of(params); !cursor.empty()) {
        auto const opened = seal.open(member, binding, cursor);
        if (!opened || !opened->is_number_unsigned() || opened->get<std::size_t>() > all.size())
            throw bad_cursor();
        begin = opened->get<std::size_t>();
    }
    auto const end = std::min(all.size(), begin + std::max<std::size_t>(options.page_size, 1));
    Json items = Json::array();
    for (auto i = begin; i < end; ++i) items.push_back(*all[i]);
    Json out = Json::object();
    out[member] = std::move(items);
    if (end < all.size()) out["nextCursor"] = seal.close(member, binding, Json(end), kCursorTtl);
    return out;
}

Json Endpoint::list_tools(Json const& params, Call const& call) const {
    auto const& sets = call.caller().toolsets.empty() ? features.default_toolsets : call.caller().toolsets;
    std::vector<Json const*> shown;
    std::string binding = call.caller().principal;
    for (auto const& set : sets) binding.append(1, '\0').append(set);
    for (auto const& tool : features.tools)
        if (sets.contains(tool.toolset)) shown.push_back(&tool.definition);
    std::vector<std::shared_ptr<Tool const>> more;
    if (features.more) more = features.more->tools(call.caller());
    for (auto const& tool : more) shown.push_back(&tool->definition);
    auto out = page(shown, "tools", params, binding);
    if (!call.modern())
        for (auto& definition : out["tools"]) definition = legacy_definition(std::move(definition));
    return out;
}

Json Endpoint::list_prompts(Json const& params, Call const& call) const {
    std::vector<Json const*> shown;
    for (auto const& prompt : features.prompts) shown.push_back(&prompt.definition);
    std::vector<std::shared_ptr<Prompt const>> more;
    if (features.more) more = features.more->prompts(call.caller());
    for (auto const& prompt : more) shown.push_back(&prompt->definition);
    return page(shown, "prompts", params, call.caller().principal);
}

Task<Json> Endpoint::get_prompt(Json params, std::shared_ptr<ActiveCall> call) {
    auto const name = string_param(params, "name");
    std::shared_ptr<Prompt const> prompt;
    for (auto const& p : features.prompts)
        if (p.definition.value("name", "") == name) prompt = {std::shared_ptr<void>(), &p};
    if (!prompt && features.more)
        for (auto const& p : features.more->prompts(call->caller()))
            if (p->definition.value("name", "") == name) prompt = p;
    if (!prompt) throw bad_params("Unknown prompt: " + name.substr(0, 128));
    Json arguments = params.value("arguments", Json::object());
    if (!arguments.is_object()) throw bad_params("Invalid params: \"arguments\" is an object");
    for (auto const& [key, value] : arguments.items())
        if (!value.is_string())
            throw bad_params("Invalid params: prompt argument \"" + key + "\" is a string");
    for (auto const& argument : prompt->definition.value("arguments", Json::array())) {
        auto const key = argument.value("name", "");
        if (argument.value("required", false) && !arguments.contains(key))
            throw bad_params("Invalid params: missing prompt argument \"" + key + '"');
    }
    co_return co_await prompt->get(std::move(arguments), *call);
}

Task<Json> Endpoint::list_resources(Json params, std::shared_ptr<ActiveCall> call) {
    constexpr char const* purpose = "resources";
    auto cursor = cursor_of(params);
    std::string const principal = call->caller().principal;
    if (!cursor.empty()) {
        auto const opened = seal.open(purpose, principal, cursor);
        if (!opened || !opened->is_string()) throw bad_cursor();
        cursor = opened->get<std::string>();
    }
    auto listed = co_await features.resources->list(std::move(cursor), *call);
    Json out{{"resources", std::move(listed.items)}};
    if (!listed.next_cursor.empty())
        out["nextCursor"] = seal.close(purpose, principal, listed.next_cursor, kCursorTtl);
    co_return out;
}

Task<Json> Endpoint::list_templates(std::shared_ptr<ActiveCall> call) {
    Json templates = Json::array();
    if (features.resources->templates) templates = co_await features.resources->templates(*call);
    Json out = Json::object();
    out["resourceTemplates"] = std::move(templates);
    co_return out;
}

Task<Json> Endpoint::read_resource(Json params, std::shared_ptr<ActiveCall> call) {
    auto const uri = string_param(params, "uri");
    auto contents = co_await features.resources->read(uri, *call);
    if (!contents) {
        Json const data{{"uri", uri}};
        throw rpc_exception(call->modern() ? code::invalid_params : code::resource_not_found,
                            "Resource not found", data);
    }
    if (contents->is_object()) co_return std::move(*contents);
    Json out = Json::object();
    out["contents"] = std::move(*contents);
    co_return out;
}

Task<Json> Endpoint::complete(Json params, std::shared_ptr<ActiveCall> call) {
    auto ref = params.value("ref", Json(nullptr));
    auto const argument = params.value("argument", Json(nullptr));
    auto context = params.value("context", Json::object());
    if (!ref.is_object() || !argument.is_object() || !context.is_object())
        throw bad_params("Invalid params: \"ref\" and \"argument\" are required objects");
    auto const type = string_param(ref, "type");
    if (type == "ref/prompt")
        string_param(ref, "name");
    else if (type == "ref/resource")
        string_param(ref, "uri");
    else
        throw bad_params("Invalid params: \"ref.type\" is ref/prompt or ref/resource");
    auto name = string_param(argument, "name"), value = string_param(argument, "value");
    auto found = co_await features.complete(std::move(ref), std::move(name), std::move(value),
                                            std::move(context), *call);
    bool const cut = found.values.size() > kMaxCompletions;
    if (cut) found.values.resize(kMaxCompletions);
    Json completion{{"values", std::move(found.values)}, {"hasMore", found.has_more || cut}};
    if (found.total) completion["total"] = *found.total;
    Json out = Json::object();
    out["completion"] = std::move(completion);
    if (!found.meta.is_null()) out["_meta"] = std::move(found.meta);
    co_return out;
}

void Endpoint::spawn(std::shared_ptr<Running> running, Task<void> work, bool ends_by_itself) {
    running_.insert(running);
    if (ends_by_itself) patient_.insert(running);
    auto done = [self = shared_from_this(), running](std::exception_ptr) {
        self->running_.erase(running);
        self->patient_.erase(running);
    };
    asio::co_spawn(executor, std::move(work),
                   asio::bind_cancellation_slot(running->signal.slot(), std::move(done)));
}

Task<void> Endpoint::stop() {
    stopping = true;
    listeners.stop();
    auto const all = running_;
    for (auto const& running : all)
        if (!patient_.contains(running)) running->cancel();
    // Handlers see their cancellation at their next suspension; one that sits in a blocking call is not
    // waited for long.
    for (int i = 0; i < 200 && !running_.empty(); ++i) {
        if (i == 100)
            for (auto const& running : std::set(running_)) running->cancel();
        co_await base::sleep_for(base::milliseconds(10));
    }
}

}  // namespace mcp
