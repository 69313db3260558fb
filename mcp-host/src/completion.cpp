#include "completion.hpp"

#include "resource_uri.hpp"
#include "resources.hpp"

#include <algorithm>
#include <filesystem>

namespace host {
namespace {

using base::Beneath;
using mcp::Completion;

constexpr std::size_t kProcesses = 200;

/// Those that begin with `typed`, in their order.
Completion beginning_with(std::string const& typed, std::vector<std::string> const& all) {
    Completion out;
    for (auto const& text : all)
        if (text.starts_with(typed)) out.values.push_back(text);
    out.total = out.values.size();
    return out;
}

Completion workspace_ids(Tools const& t, std::string const& owner, std::string const& typed) {
    Completion out;
    for (auto const& v : t.workspaces.list(owner))  // a name leads to its id, which alone stands in a URI
        if (v.id.starts_with(typed) || (!typed.empty() && v.name.starts_with(typed)))
            out.values.push_back(v.id);
    out.total = out.values.size();
    return out;
}

Completion workspaces(Tools const& t, std::string const& owner, std::string const& typed) {
    std::vector<std::string> names, ids;
    for (auto const& v : t.workspaces.list(owner)) {
        if (!v.name.empty()) names.push_back(v.name);
        ids.push_back(v.id);
    }
    names.insert(names.end(), ids.begin(), ids.end());
    return beginning_with(typed, names);
}

Task<Completion> templates(Tools& t, std::string typed) {
    auto work = [directory = t.settings.templates_dir] {
        std::vector<std::string> found;
        std::error_code ec;
        for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
            auto name = it->path().filename().string();
            if (!name.starts_with(".") && std::filesystem::is_directory(it->path() / "rootfs", ec))
                found.push_back(std::move(name));
        }
        std::sort(found.begin(), found.end());
        return found;
    };
    auto const names = co_await base::blocking(t.pool, std::move(work));
    co_return beginning_with(typed, names);
}

// The names in the directory typed so far; a directory ends with "/", so that the next completion goes on
// below it. Hidden ones only once a dot is typed.
Task<Completion> paths(Tools& t, std::string owner, std::string id, std::string typed) {
    Completion out;
    auto const slash = typed.rfind('/');
    auto const directory = slash == typed.npos ? std::string() : typed.substr(0, slash + 1);
    auto const name = typed.substr(directory.size());
    std::string const below = directory.empty() ? "." : directory;
    auto place = co_await t.workspaces.place(owner, id, below);
    if (!place || !place->root) co_return out;
    auto work = [at = *place] {
        bool more = false;
        auto listed = at.root->list(at.path, kMaxListedEntries, more);
        return std::pair(std::move(listed), more);
    };
    auto const [listed, more] = co_await base::blocking(t.pool, std::move(work));
    if (!listed) co_return out;
    for (auto const& e : *listed) {
        if (!e.name.starts_with(name) || !base::valid_utf8(e.name)) continue;
        if (e.name[0] == '.' && !name.starts_with('.')) continue;
        out.values.push_back(directory + e.name + (e.kind == Beneath::Kind::directory ? "/" : ""));
    }
    std::sort(out.values.begin(), out.values.end());
    out.has_more = more;
    if (!more) out.total = out.values.size();
    co_return out;
}

Task<Completion> processes(Tools& t, std::string owner, std::string id, std::string typed) {
    std::vector<std::string> ids;
    auto stored = co_await t.workspaces.processes(std::move(owner), std::move(id), kProcesses);
    if (stored)
        for (auto const& p : *stored) ids.push_back(p.id);
    co_return beginning_with(typed, ids);
}

// The workspace that was chosen beside the argument; nothing when it is not the caller's.
std::optional<std::string> chosen(Tools const& t, std::string const& owner, Json const& context,
                                  char const* argument) {
    auto const given = context.find("arguments");
    if (given == context.end() || !given->is_object()) return std::nullopt;
    auto const it = given->find(argument);
    if (it == given->end() || !it->is_string()) return std::nullopt;
    auto const view = t.workspaces.get(owner, it->get<std::string>());
    return view ? std::optional(view->id) : std::nullopt;
}

struct Known {
    std::set<std::string> templates, prompts;
};

Task<Completion> complete(Tools& t, std::shared_ptr<Known const> known, Json ref, std::string argument,
                          std::string typed, Json context, std::string owner) {
    bool const prompt = ref["type"] == "ref/prompt";
    auto const name = ref[prompt ? "name" : "uri"].get<std::string>();
    if (!(prompt ? known->prompts : known->templates).contains(name))
        throw mcp::RpcException(
            {-32602,
             std::string(prompt ? "Unknown prompt: " : "Unknown resource template: ") + name.substr(0, 128),
             nullptr});
    if (argument == "id" && !prompt) co_return workspace_ids(t, owner, typed);
    if (argument == "workspace") co_return workspaces(t, owner, typed);
    if (argument == "template") co_return co_await templates(t, std::move(typed));
    if (argument == "path" || argument == "process_id") {
        auto id = chosen(t, owner, context, prompt ? "workspace" : "id");
        if (!id) co_return Completion{};
        if (argument == "path")
            co_return co_await paths(t, std::move(owner), std::move(*id), std::move(typed));
        co_return co_await processes(t, std::move(owner), std::move(*id), std::move(typed));
    }
    co_return Completion{};
}

}  // namespace

decltype(mcp::Features::complete) completion(Tools& tools, std::vector<mcp::Prompt> const& prompts) {
    auto known = std::make_shared<Known>();
    for (auto const& t : resource_templates()) known->templates.insert(t["uriTemplate"]);
    for (auto const& p : prompts) known->prompts.insert(p.definition["name"]);
    return [&tools, known = std::shared_ptr<Known const>(std::move(known))](
               Json ref, std::string argument, std::string typed, Json context, Call& call) {
        return complete(tools, known, std::move(ref), std::move(argument), std::move(typed),
                        std::move(context), call.caller().principal);
    };
}

}  // namespace host
