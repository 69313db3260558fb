#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <sys/types.h>

#include <string>
#include <vector>

namespace base {

/// What to start. No shell anywhere: argv[0] is the program's absolute path, or a name looked up in the system's own
/// directories. Every descriptor but the three named is closed; the child leads a session of its own.
struct Launch {
    std::vector<std::string> argv;
    std::vector<std::string> env;        ///< "NAME=value"; nothing is inherited. PATH is set when absent.
    std::string cwd = "/";
    int in = -1, out = -1, err = -1;     ///< borrowed until the start; -1 is /dev/null
    std::vector<std::string> cgroups;    ///< cgroup directories which the child enters before it executes anything
};

struct Finished {
    int exit_code = -1;                  ///< 128 + signal when a signal ended it
    std::string out, err;                ///< their first `max_output` bytes
};

/// Runs to the end and captures what is written to stdout and stderr (unless `out` or `err` name descriptors). After
/// `limit`, or when the caller is cancelled, the process is killed and reaped. A grandchild that keeps the pipes does not
/// hold the answer back. Errors: cannot start (step in the context), errc::timed_out. A non-zero exit is not an error.
Task<Result<Finished>> run(Launch launch, milliseconds limit, std::size_t max_output = 64 * 1024);

/// Starts a process that lives on after its caller, and that nobody waits for. Descriptors not named are /dev/null; it
/// enters no cgroup. Blocks for the time of a fork. Errors: cannot start (step in the context).
Result<pid_t> start_detached(Launch launch);

/// Absolute path of a program in the system's directories, "" when there is none.
std::string find_program(std::string const& name);

}  // namespace base
