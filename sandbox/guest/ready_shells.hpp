#pragma once
#include "loop.hpp"
#include "spawn.hpp"

#include <sys/stat.h>

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace guest {

/// A few shells, started ahead, that wait for a command and become it: in gVisor most of a short command's
/// time is its shell's start. What a command finds is that of `bash -c`; see ready_object.cpp. A command
/// takes the ordinary way when no shell waits, when its environment would change how a program is loaded, and
/// in an image without bash or with another libc. Nobody's command: not listed, in no command's tree, reaped
/// here. They live and sleep with the sandbox.
class ReadyShells {
  public:
    explicit ReadyShells(Loop&);

    /// Has as many as are kept in `ms` milliseconds. The first start is asked for by `prepare`, each other by
    /// a use.
    void refill(std::int64_t ms);
    void hurry();  ///< a refill that is due starts now
    /// One, and calls back once it waits, or will not soon.
    void prepare(std::function<void()> done);
    void forget_callers() { preparing_.clear(); }
    /// Makes a shell the command; its pid, or -1: nothing happened. Copies the descriptors.
    pid_t take(Spawn const&);
    /// The shell of that pid has ended, or never mind. The command, when it was given one and ended before it
    /// began it; descriptors in it are the caller's.
    std::optional<Spawn> ended(pid_t);
    /// Of a fork: what waits in two copies of one memory is not used.
    void discard();

  private:
    struct Shell {
        pid_t pid = -1;
        int socket = -1;
        bool waits = false;
        std::vector<timespec> identity;
    };
    struct Given {
        int socket = -1;
        Spawn command;  // its descriptors are copies
    };
    using Shells = std::list<Shell>;

    void fill();
    bool start_one();
    void heard(pid_t);  // its first word, or its end
    void begun(pid_t);  // the same once it has a command
    void drop(Shells::iterator);
    void prepared();

    Loop& loop_;
    int object_ = -1;  // a file in memory with the object to load
    Shells shells_;
    std::map<pid_t, Given> given_;
    std::vector<std::function<void()>> preparing_;
    Loop::TimerId timer_{}, limit_{};
    std::size_t kept_ = 1;  // two once commands come
    std::uint64_t taken_ = 0;
    int failures_ = 0;      // shells in a row that never waited
    bool works_ = false;    // one did
};

}  // namespace guest
