#pragma once
#include <base/result.hpp>

#include <string>
#include <string_view>

// Names of resources, apart from what they hold:
//     berth://workspaces/{id}
//     berth://workspaces/{id}/files/{+path}
//     berth://workspaces/{id}/processes/{process_id}
namespace host {

struct ResourceUri {
    enum class Kind { workspace, file, process };
    Kind kind = Kind::workspace;
    std::string workspace;  ///< an id, never a name: one resource has one URI
    std::string path;  ///< of a file, as the file tools take it: "src/a.py", "~/.bashrc", "." = /workspace
    std::string process;
};

/// Strict: only what RFC 3986 allows stands in it, escapes are whole, and a path has no empty, "." or ".."
/// segment, in whatever spelling. /workspace and /home/agent are understood at the start of a path.
/// errc::invalid: ill-formed, with the reason. errc::not_found: well-formed, but no name that we give.
base::Result<ResourceUri> parse_resource_uri(std::string_view uri);

std::string workspace_uri(std::string_view id);
/// `path` as in ResourceUri. What a client gets by expanding {+path} is the same text, and change notices
/// name files so: "?", "#", "[" and "]" aside, only bytes that no URI holds are escaped.
std::string file_uri(std::string_view id, std::string_view path);

}  // namespace host
