#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace guest {

/// A name that every command finds in its environment, with the command's id: by it `stop` recognises descendants that
/// left the session and whose parents are gone.
inline constexpr char const* kCommandVariable = "BERTH_COMMAND";

/// Live members of a command's tree: its session, every descendant, and orphans that carry its id, with their own
/// descendants. `leader` is the command's pid, or 0 when that number may belong to somebody else by now.
std::vector<pid_t> tree_members(pid_t leader, std::string const& command_id);

struct Listener {
    int port = 0;
    std::string address;
    pid_t pid = 0;              ///< 0 when no process was found that holds it
    std::string program;
};
/// Listening TCP sockets, without the guest's own.
std::vector<Listener> listeners();

}  // namespace guest
