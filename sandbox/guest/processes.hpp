#pragma once
#include "link.hpp"
#include "loop.hpp"
#include "output_log.hpp"
#include "ready_shells.hpp"
#include "setup.hpp"

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace guest {

/// A call of the server that waits for something to happen to a process.
struct Waiter {
    enum class For { exit, output, gone } what{};
    std::uint32_t request = 0;
    std::uint64_t offset = 0;
    std::size_t max = 0;
    Loop::TimerId timer{};
};

struct Process {
    explicit Process(std::string name, std::string spool) : id(std::move(name)), log(std::move(spool)) {}

    std::string id;
    std::string const mark = id;      // in its environment, and its children's: stays when the id changes
    OutputLog log;
    pid_t pid = 0;
    bool terminal = false;
    int out = -1;                     // the pipe's read end, or the terminal's master
    int in = -1;                      // the pipe's write end, or the same master
    std::string input;                // not yet taken by the process
    std::size_t input_sent = 0;
    bool input_ends = false;          // end of file follows `input`
    bool reaped = false;
    bool running = true;              // until reaped, and its output complete or late
    int exit_code = -1, signal = 0;
    std::int64_t started_ms = 0, ended_ms = 0;
    std::uint64_t ended_serial = 0;
    bool stopped_by_us = false;       // a stop was asked for while it ran
    Loop::TimerId grace{};
    std::list<Waiter> waiters;
    // A stop under way; see process_stop.cpp.
    bool stopping = false;
    Loop::TimerId stop_timer{};
    std::int64_t stop_kill_at = 0, stop_give_up_at = 0;
    int stop_poll_ms = 0, stop_signal = 0;
    std::set<pid_t> stop_signalled;
};

/// Every command of this sandbox: starts, output, input, exits. As process 1 the guest also reaps whom nobody else does.
class Processes {
  public:
    Processes(Loop&, Link&, SetupOptions const&, Setup const&);

    /// Takes a socket of a program's, after the request that started it was answered: its stream. `id` when it is the program's
    /// stdin and stdout, "" when it is its side stream.
    std::function<void(std::uint32_t request, int fd, std::string id)> on_stream;

    // One per operation; each answers the request now or later.
    void start(std::uint32_t request, Json const&, std::string_view stdin_bytes);
    void wait(std::uint32_t request, Json const&);
    void read(std::uint32_t request, Json const&);
    void input(std::uint32_t request, Json const&, std::string_view bytes);
    void resize(std::uint32_t request, Json const&);
    void stop(std::uint32_t request, Json const&);
    void list(std::uint32_t request);
    void rename(std::uint32_t request, Json const&);

    std::vector<pid_t> members(std::string const& id) const;    ///< who lives of a command's tree; none for an unknown one
    void child_ended();               ///< SIGCHLD
    void forget_waiters();            ///< their server is gone
    ReadyShells& ready_shells() { return ready_; }

  private:
    using Ptr = std::shared_ptr<Process>;

    Ptr find(std::uint32_t request, Json const&);      // null after answering with an error
    bool open_pipes(Process&, bool with_stdin, int& child_in, int& child_out);
    bool open_stdio(Process&, int& ours, int& child_in, int& child_err);
    bool open_side(int& ours, int& child_side);
    bool open_terminal(Process&, int columns, int rows, int& child_in, int& child_out);
    void close_out(Process&);
    void close_in(Process&);
    std::size_t drain(Process&, std::size_t max);
    void out_ready(Ptr const&);
    void push_input(Process&);
    bool start_again(Ptr const&, Spawn const&);
    void reaped(Ptr const&, int status);
    void finish(Ptr const&);
    void drop_old();
    void wake(Process&);
    void add_waiter(Ptr const&, Waiter, std::int64_t wait_ms);
    void answer(Process&, Waiter const&);
    Json view(Process const&) const;
    void answer_started(Process&, Waiter const&);
    void answer_read(Process&, Waiter const&);

    bool signal_tree(Process&, int signal);
    void stop_step(Ptr const&);
    pid_t leader(Process const&) const;

    Loop& loop_;
    Link& link_;
    SetupOptions const& options_;
    Setup const& setup_;
    ReadyShells ready_;
    std::map<std::string, Ptr> by_id_;
    std::map<pid_t, Ptr> by_pid_;     // those not yet reaped
    std::uint64_t ended_serial_ = 0;
};

}  // namespace guest
