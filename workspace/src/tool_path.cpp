#include <workspace/tool_path.hpp>

#include <algorithm>
#include <string_view>

namespace workspace {
namespace {

constexpr std::string_view kWorkspace = "/workspace", kHome = "/home/agent", kTilde = "~";

bool below(std::string_view path, std::string_view root) {
    return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

std::string beneath(std::string const& path, std::string_view root) {
    auto tail = path.substr(root.size());
    tail.erase(0, std::min(tail.find_first_not_of('/'), tail.size()));
    return tail.empty() ? std::string(".") : tail;
}

}  // namespace

ToolPath tool_path(std::string const& given) {
    using Root = ToolPath::Root;
    if (below(given, kTilde)) return {Root::home, beneath(given, kTilde)};
    if (below(given, kHome)) return {Root::home, beneath(given, kHome)};
    if (below(given, kWorkspace)) return {Root::workspace, beneath(given, kWorkspace)};
    return {given.starts_with('/') ? Root::neither : Root::workspace, given};
}

std::string as_given(ToolPath const& path) {
    if (path.root == ToolPath::Root::home) return path.path == "." ? "~" : "~/" + path.path;
    bool const looks_like_home = path.root == ToolPath::Root::workspace && below(path.path, kTilde);
    return looks_like_home ? "./" + path.path : path.path;
}

}  // namespace workspace
