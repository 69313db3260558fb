#pragma once
#include <registry/registry.hpp>

#include <optional>
#include <string>
#include <vector>

namespace servers {

/// SHA-256 over the whole definition in canonical JSON: all of it reaches clients, and some read its _meta.
std::string pin_hash(base::Json const& tool);

/// A tool that is not offered because it is not what was approved.
struct HeldTool {
    std::string tool;
    bool is_new = false;
    std::string hash;                      ///< of what the server offers now
    base::Json definition;                 ///< what it offers now
    std::vector<std::string> differences;  ///< one change a line, for people
};

/// Of everything that is held back, as it stands: who approves it says by this what they looked at. "" for
/// nothing.
std::string held_hash(std::vector<HeldTool> const&);

struct PinnedTools {
    std::vector<base::Json> offered;
    std::vector<HeldTool> held;
    std::vector<registry::ToolPin> first_seen;  ///< to be stored
};

/// Whether nobody was ever shown a tool of this server: nothing is pinned, and what it was last seen to offer, if it was seen
/// at all, has no tools. A server without its key often lists none.
bool is_first_use(std::vector<registry::ToolPin> const& pins, std::optional<registry::ServerOffer> const& seen);

/// Compares what a server offers with what was approved. On first use everything is approved; after that a
/// changed or a further tool is held back (a changed one could otherwise come under a new name).
PinnedTools check_pins(std::string const& server, std::vector<base::Json> const& tools,
                       std::vector<registry::ToolPin> const& pins, bool first_use, std::int64_t now_ms);

}  // namespace servers
