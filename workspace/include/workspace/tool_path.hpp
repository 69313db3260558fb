#pragma once
#include <string>

namespace workspace {

/// A path as tools take and give it. What they are given without a root, "src/a.py", is below /workspace.
struct ToolPath {
    enum class Root { workspace, home, neither } root = Root::workspace;
    std::string path;  ///< beneath the root, "." for itself; of `neither` as it was given, absolute
};
ToolPath tool_path(std::string const& given);

/// What `tool_path` makes the same of again: "src/a.py", "~/a.py" in the home directory, and "./~/a.py" where only a name
/// looks like that one.
std::string as_given(ToolPath const& path);

}  // namespace workspace
