#pragma once
#include <config/servers.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

// Commands that fetch a package and then become the server in it: npx, uvx, pipx, bunx and their longer
// spellings. What they need of the network, how they are told to do without, and what their failures mean.
// Nothing here runs anything.
namespace servers {

struct PackageRunner {
    enum class Kind { npm, uv, pip, bun };
    Kind kind = Kind::npm;
    std::string program;                ///< the file's name: "npx"
    std::vector<std::string> packages;  ///< as the arguments name them; empty when they do not
    bool exact = false;                 ///< each of them is one version, which never becomes another one
    /// Where it fetches from, as host patterns (with a port when it is not 80 or 443): the public registry,
    /// or the one that the entry's arguments or environment name. What is written in files such as .npmrc is
    /// not seen.
    std::vector<std::string> hosts;
};

/// Nothing when the entry's command is none of them. Pure.
std::optional<PackageRunner> package_runner(config::ServerEntry const&);

/// Those of its hosts that the entry's sandbox.network.allowedDomains does not let it reach. Empty for one
/// that runs outside any sandbox.
std::vector<std::string> missing_hosts(PackageRunner const&, config::ServerEntry const&);

/// What an operator has to write so that it can fetch its package, as one line; "" when nothing is missing.
std::string network_advice(PackageRunner const&, config::ServerEntry const&);

/// Where a start gets its package from.
enum class Fetch {
    registry,  ///< what its registry says now
    cache,     ///< the server's own volume first, as far as the runner knows how
    nowhere,   ///< the volume alone: there is no network, and waiting for it would be in vain
};

/// For the next attempt of a start. `known`: this very entry has started before, so that its package is in
/// its volume.
Fetch first_fetch(PackageRunner const&, config::ServerEntry const&, bool known);
/// For another attempt after one that failed; nothing when it would only fail again.
std::optional<Fetch> next_fetch(PackageRunner const&, config::ServerEntry const&, Fetch failed, bool known);

/// Settings of the runner, as variables of its environment. Those that the entry sets itself, in whatever
/// case, are left out.
std::map<std::string, std::string> runner_environment(PackageRunner const&, Fetch,
                                                      config::ServerEntry const&);

/// How long the entry's start may take when it gets its package by `fetch`: longer than others where it
/// downloads, unless the entry says how long.
std::chrono::milliseconds start_limit(config::ServerEntry const&, std::optional<Fetch> fetch);

/// That the entry's program is not there in its sandbox, and what to do; `template_name` is that of the
/// sandbox.
std::string no_such_program(config::ServerEntry const&, std::string const& template_name);

/// What a failed start means, from what was written to stderr in it, oldest line first.
struct Complaint {
    std::string sentence;   ///< for people; "" = nothing that is known here
    bool certain = false;   ///< another attempt would end in the same way
    bool fetching = false;  ///< it is the runner's own failure: the package never came to run
};
/// Of any command in a sandbox, whether or not it is a runner: nothing when its program is there.
Complaint missing_program(config::ServerEntry const&, std::string const& template_name,
                          std::vector<std::string> const& said);
Complaint complaint_of(PackageRunner const&, std::vector<std::string> const& said);

}  // namespace servers
