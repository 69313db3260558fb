#pragma once
#include <base/asio.hpp>
#include <base/byte_stream.hpp>
#include <base/json.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandbox {

class Channel;

/// A command to start inside.
struct ProcessSpec {
    std::string id;                                ///< chosen by the host, unique in the sandbox; names it from now on
    std::string command;                           ///< run by `bash -c`, or directly when it is one plain program call
    std::string cwd = "/workspace";
    std::map<std::string, std::string> env;        ///< added to the workspace's own
    std::map<std::string, std::string> path_env;   ///< directories that go before what PATH and its like hold
    bool pty = false;
    int columns = 120, rows = 40;
    std::string stdin_bytes;                       ///< written at the start; without `stdin_open`, end of file follows
    bool stdin_open = false;
    base::milliseconds wait{0};                    ///< answer at the exit, or after this time while it goes on running
    std::size_t max_output = 12'000;               ///< of ProcessView::output
};

/// What is known of a command. Output is stdout and stderr in the order written, addressed by absolute offset.
struct ProcessView {
    std::string id;
    bool running = false;
    int pid = 0;                                   ///< inside
    int exit_code = -1;                            ///< -1 while running or when a signal ended it
    int signal = 0;
    std::string reason;                            ///< "" while running, else exit | signal | oom | killed | lost
    std::int64_t started_ms = 0, ended_ms = 0;     ///< Unix time; ended_ms is 0 while running
    std::uint64_t total_bytes = 0;                 ///< written so far
    std::uint64_t offset = 0;                      ///< of the first byte of `output`
    std::string output;                            ///< raw bytes. From `start`: the head; the rest is in `tail`
    std::string tail;                              ///< from `start` only, when the output did not fit: its last bytes
    std::uint64_t tail_offset = 0;
    std::uint64_t first_kept = 0;                  ///< older bytes than this are only in `output_path`, if anywhere
    std::string output_path;                       ///< the full log inside the sandbox, "" while it all fits in memory
};

struct ListeningPort {
    int port = 0;
    std::string address;                           ///< "127.0.0.1", "0.0.0.0", "::", ...
    int pid = 0;
    std::string program;
};

/// Set after every claim, restore and re-attachment. The guest applies it once per `generation`.
struct GuestSetup {
    std::string workspace_id;
    std::string hostname;
    std::map<std::string, std::string> env;
    std::vector<std::string> egress;               ///< allowed host patterns, only to tell the user inside; "" = no network
    bool volume = true;                            ///< bind /berth/volume/{workspace,home} to /workspace and /home/agent
    int max_processes_kept = 256;                  ///< ended commands whose output stays readable
    std::map<std::string, std::string> binds;      ///< path inside to a path of the volume that is bound there; at the first setup
    int max_processes = 0;                         ///< processes and threads that commands may have, then EAGAIN; 0 = any
};

/// A file of the volume that was deleted while a process has it open or mapped: what a checkpoint cannot keep.
struct DeletedFile {
    std::string path;                              ///< as it was, inside
    int pid = 0;
    std::string program;
};

/// What the guest did to stand still.
struct Quiet {
    int connections_closed = 0;                    ///< to the outside and from previews
    std::vector<DeletedFile> deleted;
};

/// After a restore. Processes learn of it from /run/berth/generation (rewritten by rename: "<generation> restored" or
/// "<generation> forked"), and those that want a signal put its number into a file /run/berth/notify/<their pid>.
struct Renewal {
    GuestSetup setup;
    std::uint64_t generation = 0;
    bool forked = false;                           ///< a copy that shall not be taken for the original: new machine id
};

/// The typed calls to process 1 of a sandbox. Every call ends: with the guest's answer, errc::timed_out when it does not
/// come within the call's own wait plus 10 s, or errc::unavailable when the sandbox died. Cancelling a call stops the
/// waiting, never the process inside.
/// Threads: the I/O thread only. Lifetime: calls in flight keep the channel alive.
class Guest {
  public:
    explicit Guest(std::shared_ptr<Channel> channel);

    base::Task<base::Status> ping();               ///< whether it answers
    /// Answers when a shell waits inside for the first command, or will not soon: at most two seconds.
    base::Task<base::Status> prepare();
    /// The claim's one round trip.
    base::Task<base::Status> configure(GuestSetup setup);
    /// True when `configure` was done for this workspace already: how a restarted server knows.
    base::Task<base::Result<bool>> configured_for(std::string workspace_id);

    /// errc::invalid: no such cwd, or the program cannot be executed.
    base::Task<base::Result<ProcessView>> start(ProcessSpec spec);
    /// Starts a program whose stdin and stdout are the stream; what it writes to stderr is its output for `read`. `pty`,
    /// `stdin_bytes` and `wait` have no meaning here.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> start_with_stdio(ProcessSpec spec);
    /// As `start`, but answers at once, with a stream that is the command's alone: descriptor kSideStream inside, which what it
    /// starts may inherit, and to which no name leads. `quiesce` and a new attachment end it for good.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> start_with_side_stream(ProcessSpec spec);
    /// What `start` answers: at the exit, or after `limit`.
    base::Task<base::Result<ProcessView>> wait(std::string id, base::milliseconds limit, std::size_t max_output);
    /// The stdin and stdout of a program that was started with them, anew: `quiesce` ends the stream, and not them. What the program wrote meanwhile
    /// comes first. errc::not_found when they are gone, or still have a stream.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> attach_stdio(std::string process);
    /// Bytes from `offset` on; when there are none yet, waits up to `wait` for some or for the exit.
    base::Task<base::Result<ProcessView>> read(std::string id, std::uint64_t offset, std::size_t max,
                                               base::milliseconds wait);
    /// At most 1 MiB pending per process, else errc::busy. `eof` closes stdin (^D for a pty).
    base::Task<base::Status> input(std::string id, std::string bytes, bool eof);
    base::Task<base::Status> resize(std::string id, int columns, int rows);    ///< a pty's window; its programs get SIGWINCH
    /// Signals the whole tree: the session, and every descendant that left it. After `grace` the rest gets SIGKILL.
    base::Task<base::Result<ProcessView>> stop(std::string id, int signal, base::milliseconds grace);
    base::Task<base::Result<std::vector<ProcessView>>> processes();   ///< without output
    /// New ids for commands, old to new, in a copy of a sandbox. errc::invalid: a guest of before 2026-11-29.
    base::Task<base::Status> rename(std::map<std::string, std::string> ids);
    /// Ports that are listened on; with `process`, only those that a command or what it started holds.
    base::Task<base::Result<std::vector<ListeningPort>>> ports(std::string process = "");

    /// Files that are not on the volume, seen by the sandbox's own kernel.
    base::Task<base::Result<std::string>> read_file(std::string path, std::size_t max);
    /// `parents`: makes the directories above it that are missing.
    base::Task<base::Status> write_file(std::string path, std::string bytes, bool parents = false);

    /// Before a checkpoint: closes the streams inside, so that programs see an end, and takes no new ones until `resume`,
    /// `renew` or a new attachment. Looks for deleted files on the volume. From this call on, what others send is held back
    /// on the host; `resume` lets it go.
    base::Task<base::Result<Quiet>> quiesce();
    base::Task<base::Status> resume();             ///< after a `quiesce` whose checkpoint came to nothing, or went on
    /// As `configure`, for a sandbox that woke from an image: names, generation, and who wants to be told.
    base::Task<base::Status> renew(Renewal renewal);

    /// Connects to a port that listens inside.
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(int port);
    /// Called for each connection that a program inside opens to the proxy port (kProxyPort). Without a handler they are closed.
    void on_egress(std::function<void(std::unique_ptr<base::ByteStream>)> handler);

    static constexpr int kProxyPort = 3128;
    static constexpr int kSideStream = 3;

  private:
    std::shared_ptr<Channel> channel_;
};

}  // namespace sandbox
