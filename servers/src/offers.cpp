#include "impl.hpp"
#include <base/hash.hpp>

#include <algorithm>

// What clients see: the offers of all servers under public names, in the order of the servers' names.
namespace servers {
namespace {

using base::Json;

constexpr std::size_t kMaxLinks = 4'096, kMaxLink = 2'048;

std::string prefix_of_template(std::string const& uri_template) {
    return uri_template.substr(0, uri_template.find('{'));
}

}  // namespace

void Servers::Impl::rebuild() {
    NameTable names, prompt_names;
    std::vector<std::pair<Ptr, ShownTool const*>> candidates;
    for (auto const& [name, upstream] : upstreams) {
        auto const state = upstream->life().state();
        if (state == State::disabled || state == State::misconfigured) continue;
        for (auto const& tool : upstream->tools()) {
            names.claim(tool.public_name, name + "/" + tool.name);
            candidates.emplace_back(upstream, &tool);
        }
        for (auto const& prompt : upstream->offer().prompts) {
            auto const own = text_of(prompt, "name");
            prompt_names.claim(public_name(name, own, options.name_limit), name + "/" + own);
        }
    }
    collisions = names.collisions();
    prompt_collisions = prompt_names.collisions();
    std::string print;
    std::vector<std::shared_ptr<mcp::Tool const>> new_tools;
    std::map<std::string, PublicTool> new_names;
    std::vector<ToolSearch::Document> documents;
    for (auto const& [upstream, tool] : candidates) {
        if (!names.sole(tool->public_name)) continue;
        print += base::dump(tool->definition) + '\n';
        new_tools.push_back(make_tool(upstream, *tool));
        new_names[tool->public_name] = {upstream, *tool};
        documents.push_back({tool->public_name, upstream->entry().name,
                             text_of(tool->definition, "description"), argument_text(tool->definition)});
    }
    print = base::sha256_hex(print);
    by_name = std::move(new_names);
    tools = std::move(new_tools);
    bool const tools_differ = print != shown_tools_print;
    shown_tools_print = std::move(print);
    if (tools_differ) search.fill(documents);

    std::string prompt_print, resource_print;
    prompts.clear();
    prompt_owner.clear();
    resources = Json::array();
    templates = Json::array();
    std::map<std::string, std::vector<std::string>> uris;  // to its claimants
    auto const claim = [&uris](std::string const& uri, std::string const& name) {
        auto& claimants = uris[uri];
        bool const first = claimants.empty();
        auto claimant = name + "/" + uri;
        if (first || claimants.back() != claimant) claimants.push_back(std::move(claimant));
        return first;
    };
    for (auto const& [name, upstream] : upstreams) {
        auto const state = upstream->life().state();
        if (state == State::disabled || state == State::misconfigured) continue;
        for (auto const& prompt : upstream->offer().prompts) {
            auto const own = text_of(prompt, "name");
            auto const shown = public_name(name, own, options.name_limit);
            if (own.empty() || !prompt_names.sole(shown)) continue;
            prompts.push_back(make_prompt(upstream, prompt, shown));
            prompt_owner[shown] = {upstream, own};
            prompt_print += base::dump(prompts.back()->definition) + '\n';
        }
        // A URI is a name of its own and is not changed (but ui://, which is private to its server): of two
        // servers that have the same one, the first has it.
        for (auto resource : upstream->offer().resources) {
            auto const uri = public_uri(name, text_of(resource, "uri"));
            if (uri.empty() || is_own_uri(uri) || !claim(uri, name)) continue;
            resource["uri"] = uri;
            resources.push_back(std::move(resource));
        }
        for (auto resource : upstream->offer().templates) {
            auto const uri = public_uri(name, text_of(resource, "uriTemplate"));
            if (uri.empty() || is_own_uri(uri) || !claim(uri, name)) continue;
            resource["uriTemplate"] = uri;
            templates.push_back(std::move(resource));
        }
    }
    uri_collisions.clear();
    for (auto& [uri, claimants] : uris)
        if (claimants.size() > 1) uri_collisions.push_back({uri, std::move(claimants)});
    resource_print = base::sha256_hex(base::dump(resources) + base::dump(templates));
    prompt_print = base::sha256_hex(prompt_print);
    bool const prompts_differ = std::exchange(shown_prompts_print, prompt_print) != prompt_print;
    bool const resources_differ = std::exchange(shown_resources_print, resource_print) != resource_print;
    if (!hub || stopping) return;
    if (tools_differ) hub->tools_changed();
    if (prompts_differ) hub->prompts_changed();
    if (resources_differ) hub->resources_changed();
}

std::shared_ptr<mcp::Tool const> Servers::Impl::make_tool(Ptr const& upstream, ShownTool const& shown) {
    auto tool = std::make_shared<mcp::Tool>();
    tool->name = shown.public_name;
    tool->definition = shown.definition;
    tool->toolset = "community";
    tool->may_be_task = true;
    std::weak_ptr<Impl> const weak = weak_from_this();
    std::weak_ptr<Upstream> const of = upstream;
    tool->run = [weak, of, name = shown.name, public_name = shown.public_name, task = shown.needs_task](
                    Json arguments, mcp::Call& call) -> Task<mcp::ToolResult> {
        auto const self = weak.lock();
        auto const server = of.lock();
        if (!self || !server) co_return mcp::ToolResult::failure(public_name + " is no longer there");
        co_return co_await self->call_tool(server, name, public_name, task, std::move(arguments), call);
    };
    return tool;
}

std::shared_ptr<mcp::Prompt const> Servers::Impl::make_prompt(Ptr const& upstream, Json const& definition,
                                                              std::string shown_name) {
    auto prompt = std::make_shared<mcp::Prompt>();
    prompt->definition = definition;
    prompt->definition["name"] = shown_name;
    std::weak_ptr<Impl> const weak = weak_from_this();
    std::weak_ptr<Upstream> const of = upstream;
    prompt->get = [weak, of, name = text_of(definition, "name"), shown_name](Json arguments,
                                                                              mcp::Call& call) -> Task<Json> {
        auto const self = weak.lock();
        auto const server = of.lock();
        if (!self || !server) throw mcp::RpcException({-32602, "Unknown prompt: " + shown_name, nullptr});
        Passage::Run run = [name, arguments](mcp::Client& client, mcp::CallOptions o) {
            return client.get_prompt(name, arguments, std::move(o));
        };
        auto result = co_await self->relay(server, "prompt " + shown_name, std::move(run), call);
        if (auto const meta = result.find("_meta"); meta != result.end() && !meta->is_object()) result.erase(meta);
        co_return result;
    };
    return prompt;
}

Servers::Impl::Ptr Servers::Impl::owner_of(std::string const& uri) const {
    if (is_own_uri(uri)) return nullptr;
    for (auto const& [name, upstream] : upstreams)
        for (auto const& resource : upstream->offer().resources)
            if (public_uri(name, text_of(resource, "uri")) == uri) return upstream;
    for (auto const& [name, upstream] : upstreams) {
        if (uri.starts_with("ui://" + name + "/")) return upstream;  // may be left out of the list
        for (auto const& resource : upstream->offer().templates) {
            auto const prefix = prefix_of_template(public_uri(name, text_of(resource, "uriTemplate")));
            if (!prefix.empty() && uri.starts_with(prefix)) return upstream;
        }
    }
    auto const linked = links.find(uri);
    return linked == links.end() ? nullptr : find(linked->second);
}

void Servers::Impl::remember_link(std::string const& uri, std::string const& server) {
    if (uri.empty() || uri.size() > kMaxLink || is_own_uri(uri)) return;
    if (!links.insert_or_assign(uri, server).second) return;
    link_order.push_back(uri);
    if (link_order.size() <= kMaxLinks) return;
    links.erase(link_order.front());
    link_order.pop_front();
}

std::vector<std::shared_ptr<mcp::Tool const>> Servers::tools(mcp::Caller const& caller) const {
    if (!impl_->options.shown_to(caller)) return {};
    return impl_->tools;
}

std::shared_ptr<mcp::Tool const> Servers::tool(std::string const& name, mcp::Caller const& caller) const {
    if (!impl_->options.shown_to(caller)) return nullptr;
    if (!impl_->by_name.contains(name)) return nullptr;
    auto const it = std::find_if(impl_->tools.begin(), impl_->tools.end(),
                                 [&](auto const& t) { return t->name == name; });
    return it == impl_->tools.end() ? nullptr : *it;
}

std::vector<std::shared_ptr<mcp::Prompt const>> Servers::prompts(mcp::Caller const& caller) const {
    if (!impl_->options.shown_to(caller)) return {};
    return impl_->prompts;
}

Json Servers::resources() const { return impl_->resources; }
Json Servers::templates() const { return impl_->templates; }

void Servers::watched(std::string const& uri) {
    if (auto const owner = impl_->owner_of(uri)) owner->watch(upstream_uri(owner->entry().name, uri));
}

void Servers::roots_changed(std::string const& principal) {
    for (auto const& [name, upstream] : impl_->upstreams) upstream->roots_changed(principal);
}

Json Servers::search(std::string const& query, std::size_t limit) const {
    auto out = Json::array();
    for (auto const& name : impl_->search.find(query, limit)) {
        auto const it = impl_->by_name.find(name);
        if (it == impl_->by_name.end()) continue;
        auto description = text_of(it->second.shown.definition, "description");
        if (description.size() > 300) description = base::to_utf8(description.substr(0, 300)) + "...";
        out.push_back({{"tool", name},
                       {"server", it->second.upstream->entry().name},
                       {"description", std::move(description)}});
    }
    return out;
}

base::Result<Json> Servers::describe(std::string const& tool) const {
    auto const it = impl_->by_name.find(tool);
    if (it == impl_->by_name.end())
        return base::error(base::errc::not_found,
                           "no tool is named " + tool.substr(0, 100) + "; search_tools finds them");
    return it->second.shown.definition;
}

}  // namespace servers
