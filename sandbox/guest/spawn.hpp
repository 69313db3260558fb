#pragma once
#include "confine.hpp"

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace guest {

using Environment = std::map<std::string, std::string>;

/// The number of the descriptor, beside the standard ones, that a command can be given.
inline constexpr int kSideStream = 3;

/// One command, ready to run. Descriptors are borrowed and above 2, `side` above kSideStream.
struct Spawn {
    std::string command;
    Environment env;
    std::string cwd;
    int in = -1, out = -1;      ///< stdout and stderr both get `out`
    int err = -1;               ///< unless this is given: then stderr gets it
    int side = -1;              ///< becomes kSideStream
    bool terminal = false;      ///< `in` is a terminal, and becomes the controlling one
    unsigned max_processes = 0; ///< of this user, for the command and what it starts; 0 = no limit
};

struct Spawned {
    pid_t pid = -1;             ///< leads a session of its own
    std::string error;          ///< when pid is -1: what failed, for the user
    bool callers_fault = false; ///< a wrong cwd or the like, as opposed to exhausted resources
};

/// Holds for every command from now on. Once, before the first.
void confine_commands(Confinement);

/// Runs the command as a program when it is one plain call (saving a shell, whose start costs milliseconds in gVisor), else
/// by bash, or by sh in an image without bash. `waiting` may make a shell that runs already the command, and gives its pid.
Spawned spawn(Spawn const&, std::function<pid_t(Spawn const&)> const& waiting = nullptr);

/// The bash that commands get; null when there is none.
char const* find_bash();
/// One more, for ready_shells.hpp, that waits at `socket` for its command, by means of `object`; both above 4. -1 on failure.
pid_t spawn_waiting(char const* shell, int socket, int object);

/// The words of a command that means the same without a shell, else empty. Exposed for its test.
std::vector<std::string> plain_words(std::string const& command);

}  // namespace guest
