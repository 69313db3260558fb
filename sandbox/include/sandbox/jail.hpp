#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/unique_fd.hpp>
#include <sandbox/sandbox.hpp>

#include <memory>
#include <string>
#include <vector>

namespace sandbox {

/// A program of this machine's own in a place where it reaches nothing but one listening socket that we hold:
/// for Chromium, which looks at strangers' pages. See sandbox/jail/README.md. One at a time. Threads: the I/O
/// thread.
class Jail {
  public:
    struct Options {
        std::string directory;  ///< names our control group; nothing is written there
        std::string program;    ///< the installed berth-jail
        Limits limits;
    };
    Jail(base::BlockingPool& pool, Options options);

    struct Prisoner {
        std::vector<std::string> argv, env;  ///< argv[0]: absolute, below /usr
        std::uint16_t port = 0;              ///< of the socket, on the jail's own 127.0.0.1
        base::milliseconds life{30'000};     ///< then it is killed
    };
    struct Opened {
        base::UniqueFd
            wire;  ///< a Unix stream socket to its descriptors 3 and 4; closing it ends the program
        base::UniqueFd listener;  ///< what connects to the socket inside is accepted here
    };
    /// What an earlier server left is ended first. errc::busy while one is in; errc::unavailable says what
    /// the machine lacks.
    base::Task<base::Result<Opened>> open(Prisoner);
    /// At start: ends and removes what an earlier server left.
    base::Task<void> sweep();
    /// Ends it, if it runs, with all its children, and frees what it held.
    base::Task<void> close();

    struct End {
        std::string words;  ///< what it wrote to standard error, its first 64 KiB
        bool out_of_memory = false;
    };
    /// Of the last one, once `close` has returned.
    End const& end() const;

  private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the coroutine that waits for the program
};

}  // namespace sandbox
