#pragma once
#include "pins.hpp"
#include <base/json.hpp>
#include <config/servers.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace servers {

/// What a server said that it has, cleaned of what cannot be seen. Kept in the registry, so that it is known
/// while the server sleeps.
struct Offer {
    std::vector<base::Json> tools, prompts, resources, templates;
    std::string name, version, instructions;  ///< display only
    std::string revision;                     ///< of the protocol
    std::size_t invisible_removed = 0;
};
base::Json to_json(Offer const&);
/// The member when it is a string, else "". Never throws, whatever `object` is.
std::string text_of(base::Json const& object, char const* key);
/// Erases members whose type is wrong (name, title, description, uri, uriTemplate, mimeType, execution) and drops
/// items without their name or URI, so that nothing that reads an offer meets them.
void make_regular(Offer&);
Offer offer_from(base::Json const&);

/// A tool as clients see it.
struct ShownTool {
    std::string public_name, name;
    base::Json definition;
    std::vector<std::string> warnings;
    bool needs_task = false;  ///< upstream runs it only as a task
};

/// Applies the operator's choice (allow, deny, rename, describe) to tools that passed their pins.
std::vector<ShownTool> shown_tools(config::ServerEntry const& entry, std::vector<base::Json> const& tools,
                                   std::size_t name_limit);

/// A URI of berth's own scheme, which no server may offer or answer.
bool is_own_uri(std::string_view uri);

/// `ui://a/b` of a server as clients see it, `ui://SERVER/a/b`: two servers may use one URI. Others stay as
/// they are.
std::string public_uri(std::string const& server, std::string const& uri);
std::string upstream_uri(std::string const& server, std::string const& uri);

}  // namespace servers
