#include "impl.hpp"
#include <base/hash.hpp>

// The way through: a client's request to its server and back, with limits, redaction and an audit line.
namespace servers {
namespace {

using base::Json;

constexpr int kElicitationNeeded = -32042;  // MCP 2025-11-25: the call can be made again once its pages were opened

/// The pages that such an answer wants to be opened.
void expect_completions(mcp::Failure const& failure, Upstream& upstream, mcp::Call const& call) {
    if (!failure.rpc || failure.rpc->code != kElicitationNeeded || !failure.rpc->data.is_object()) return;
    auto const pages = failure.rpc->data.find("elicitations");
    if (pages == failure.rpc->data.end() || !pages->is_array()) return;
    for (auto const& page : *pages) upstream.expect_completion(page, call);
}

mcp::RpcException as_exception(mcp::Failure const& failure, Upstream const& upstream) {
    auto const& redactor = upstream.redactor();
    if (failure.rpc) {
        auto error = *failure.rpc;
        error.message = error.message.empty() ? "server " + upstream.entry().name + " failed and did not say why"
                                              : redactor.text(std::move(error.message));
        redactor.apply(error.data);
        return mcp::RpcException(std::move(error));
    }
    return mcp::RpcException({-32603, redactor.text(mcp::to_string(failure)), nullptr});
}

/// Its _meta as it goes on to a client: what is between the server and us stays here. Null = none.
Json passed_meta(Json const& result) {
    auto const it = result.find("_meta");
    if (it == result.end() || !it->is_object()) return nullptr;
    auto out = *it;
    out.erase("io.modelcontextprotocol/serverInfo");
    return out.empty() ? Json() : out;
}

/// The call that this request continues, when it brings the state of one.
std::shared_ptr<Passage> continued(ParkedCalls const& parked, mcp::Call const& call,
                                   std::string const& what) {
    auto const& state = call.state();
    if (!state.is_object() || !state.contains("passage")) return nullptr;
    auto const found = parked.find(text_of(state, "passage"));
    return found && found->belongs_to(call.caller().principal, what) ? found : nullptr;
}

}  // namespace

Task<mcp::Outcome<Json>> Servers::Impl::pass(Ptr upstream, std::string what, Passage::Run run,
                                             mcp::Call& call) {
    auto const self = shared_from_this();
    auto passage = continued(parked, call, what);
    if (!passage && call.state().is_object() && call.state().contains("passage"))
        co_return mcp::failure(base::errc::stale,
                               "the call that these answers belong to is over; make it again");
    if (!passage) {
        auto turn = co_await upstream->take_turn();
        if (!turn) co_return mcp::Failure{turn.error(), {}, false};
        auto connection = co_await upstream->use();
        if (!connection) co_return mcp::Failure{connection.error(), {}, false};
        passage = std::make_shared<Passage>(io, upstream, std::move(*connection), std::move(*turn),
                                            call.caller().principal, what);
        passage->begin(std::move(run), call);
    }
    auto outcome = co_await passage->ride(call, parked);
    if (!outcome) expect_completions(outcome.error(), *upstream, call);
    co_return outcome;
}

Task<Json> Servers::Impl::relay(Ptr upstream, std::string what, Passage::Run run, mcp::Call& call) {
    auto const self = shared_from_this();
    auto outcome = co_await pass(upstream, std::move(what), std::move(run), call);
    if (!outcome) throw as_exception(outcome.error(), *upstream);
    if (auto const bytes = base::dump(*outcome).size(); bytes > upstream->entry().max_result_bytes)
        throw mcp::RpcException({-32603,
                                 "server " + upstream->entry().name + " answered with " + std::to_string(bytes) +
                                     " bytes, more than maxResultKb (" +
                                     std::to_string(upstream->entry().max_result_bytes >> 10) + " KiB) allows",
                                 nullptr});
    upstream->redactor().apply(*outcome);
    co_return std::move(*outcome);
}

Task<mcp::ToolResult> Servers::Impl::call_tool(Ptr upstream, std::string name, std::string shown,
                                               bool needs_task, Json arguments, mcp::Call& call) {
    auto const self = shared_from_this();
    auto const began = base::Clock::now();
    auto const argument_text = base::dump(arguments);
    Json audit{{"tool", name},
               {"who", call.caller().principal},
               {"arguments_sha256", base::sha256_hex(argument_text)},
               {"arguments_bytes", argument_text.size()}};
    Json shape = Json::object();
    for (auto const& [key, value] : arguments.items()) shape[key.substr(0, 64)] = value.type_name();
    audit["arguments"] = std::move(shape);
    Passage::Run run = [name, needs_task, arguments = std::move(arguments)](mcp::Client& client,
                                                                            mcp::CallOptions o) {
        if (needs_task) o.task_ttl = base::milliseconds(3'600'000);
        return client.call_tool(name, arguments, std::move(o));
    };
    ++upstream->calls;
    auto outcome = co_await pass(upstream, "tool " + shown, std::move(run), call);
    audit["ms"] = std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - began).count();
    auto const write_down = [&] {
        upstream->remember(audit);
        records.audit_lazy("servers/" + upstream->entry().name, "tool call", std::move(audit));
    };
    auto const fail = [&](std::string why) {
        ++upstream->failed_calls;
        why = upstream->redactor().text(std::move(why));
        audit["failed"] = base::to_utf8(why.substr(0, 500));
        write_down();
        return why;
    };
    if (!outcome) {
        auto const& failure = outcome.error();
        auto const exception = as_exception(failure, *upstream);
        auto why = fail(failure.rpc ? exception.error.message : mcp::to_string(failure));
        if (failure.rpc) throw exception;  // the server's own words, with their code
        if (failure.may_have_run) why += ". It may have taken effect, and was not sent again";
        co_return mcp::ToolResult::failure(why);
    }
    auto const bytes = base::dump(*outcome).size();
    if (bytes > upstream->entry().max_result_bytes)
        co_return mcp::ToolResult::failure(fail("server " + upstream->entry().name + " answered with " +
                                                std::to_string(bytes) + " bytes, more than maxResultKb (" +
                                                std::to_string(upstream->entry().max_result_bytes >> 10) +
                                                " KiB) allows; ask for less at once"));
    audit["result_bytes"] = bytes;
    if (auto const redacted = upstream->redactor().apply(*outcome); redacted > 0)
        audit["redacted"] = redacted;
    mcp::ToolResult result;
    auto& answer = *outcome;
    if (auto const it = answer.find("content"); it != answer.end() && it->is_array())
        result.content = std::move(*it);
    auto const& server = upstream->entry().name;
    for (auto& block : result.content) {  // links to what is private to the server, and what it shows of it
        if (!block.is_object()) continue;
        auto* const at = text_of(block, "type") == "resource_link" ? &block
                         : block.contains("resource") && block["resource"].is_object() ? &block["resource"]
                                                                                       : nullptr;
        if (!at || !at->contains("uri")) continue;
        (*at)["uri"] = public_uri(server, text_of(*at, "uri"));
        remember_link(text_of(*at, "uri"), server);
    }
    if (auto const it = answer.find("structuredContent"); it != answer.end())
        result.structured = std::move(*it);
    if (auto const it = answer.find("isError"); it != answer.end() && it->is_boolean()) result.is_error = it->get<bool>();
    result.meta = passed_meta(answer);
    if (result.is_error) {
        ++upstream->failed_calls;
        audit["is_error"] = true;
    }
    write_down();
    co_return result;
}

Task<std::optional<Json>> Servers::read(std::string uri, mcp::Call& call) {
    auto const impl = impl_;
    auto const owner = impl->owner_of(uri);
    if (!owner) co_return std::nullopt;
    auto const own = upstream_uri(owner->entry().name, uri);
    Passage::Run run = [own](mcp::Client& client, mcp::CallOptions o) {
        return client.read_resource(own, std::move(o));
    };
    auto result = co_await impl->relay(owner, "resource " + uri, std::move(run), call);
    auto contents = result.value("contents", Json::array());
    if (!contents.is_array()) co_return std::nullopt;
    for (auto& item : contents)
        if (item.is_object()) {
            auto const given = text_of(item, "uri");
            item["uri"] = public_uri(owner->entry().name, given.empty() ? own : given);
        }
    auto meta = passed_meta(result);
    if (meta.is_null()) co_return std::optional<Json>(std::move(contents));
    Json whole;
    whole["contents"] = std::move(contents);
    whole["_meta"] = std::move(meta);
    co_return std::optional<Json>(std::move(whole));
}

Task<std::optional<mcp::Completion>> Servers::complete(Json ref, std::string argument, std::string value,
                                                       Json context, mcp::Call& call) {
    auto const impl = impl_;
    Impl::Ptr owner;
    if (text_of(ref, "type") == "ref/prompt") {
        auto const it = impl->prompt_owner.find(text_of(ref, "name"));
        if (it == impl->prompt_owner.end()) co_return std::nullopt;
        owner = it->second.first;
        ref["name"] = it->second.second;
    } else {
        auto const uri = text_of(ref, "uri");
        if (is_own_uri(uri)) co_return std::nullopt;
        for (auto const& [name, upstream] : impl->upstreams)
            for (auto const& item : upstream->offer().templates)
                if (!owner && public_uri(name, text_of(item, "uriTemplate")) == uri) owner = upstream;
        if (!owner) co_return std::nullopt;
        ref["uri"] = upstream_uri(owner->entry().name, uri);
    }
    Json given{{"name", argument}, {"value", value}};
    if (context.is_object() && context.empty()) context = nullptr;
    Passage::Run run = [ref, given, context](mcp::Client& client, mcp::CallOptions o) {
        return client.complete(ref, given, context, std::move(o));
    };
    auto result = co_await impl->relay(owner, "completion", std::move(run), call);
    mcp::Completion out;
    out.meta = passed_meta(result);
    auto const completion = result.value("completion", Json::object());
    if (!completion.is_object()) co_return std::optional<mcp::Completion>(std::move(out));
    auto const values = completion.value("values", Json::array());
    for (auto const& item : values)
        if (item.is_string()) out.values.push_back(item.get<std::string>());
    if (auto const total = completion.find("total"); total != completion.end() && total->is_number_unsigned())
        out.total = total->get<std::size_t>();
    if (auto const more = completion.find("hasMore"); more != completion.end() && more->is_boolean())
        out.has_more = more->get<bool>();
    co_return std::optional<mcp::Completion>(std::move(out));
}

Task<mcp::ToolResult> Servers::call(std::string tool, Json arguments, mcp::Call& call) {
    auto const impl = impl_;
    auto const it = impl->by_name.find(tool);
    if (it == impl->by_name.end())
        co_return mcp::ToolResult::failure("no tool is named " + tool.substr(0, 100) +
                                           "; search_tools finds them");
    auto const upstream = it->second.upstream;
    auto const shown = it->second.shown;
    co_return co_await impl->call_tool(upstream, shown.name, shown.public_name, shown.needs_task,
                                       std::move(arguments), call);
}

}  // namespace servers
