#include "processes.hpp"

#include "proc.hpp"
#include "spawn.hpp"

#include <fcntl.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace guest {
namespace {

constexpr std::size_t kMaxRunning = 1024;
constexpr std::size_t kMaxPendingInput = 1 << 20;
constexpr std::size_t kReadPerTurn = 256 * 1024;        // so that a flood leaves turns to everything else
constexpr std::size_t kMaxAnswer = 1 << 20;
constexpr std::size_t kEndedMemory = 16 << 20;          // of all ended commands' output together
constexpr std::int64_t kLateOutputMs = 20;
constexpr char kEndOfTransmission = 4;

winsize window(int columns, int rows) {
    winsize size{};
    size.ws_col = static_cast<unsigned short>(std::clamp(columns, 1, 2000));
    size.ws_row = static_cast<unsigned short>(std::clamp(rows, 1, 2000));
    return size;
}

std::string file_name(std::string const& id) {
    std::string out = id.substr(0, 128);
    for (char& c : out)
        if (c == '/' || c == '\0') c = '_';
    return out;
}

Waiter for_exit(std::uint32_t request, Json const& j) {
    Waiter waiter;
    waiter.what = Waiter::For::exit;
    waiter.request = request;
    waiter.max = std::min(j.value("max_output", std::size_t(12'000)), kMaxAnswer);
    return waiter;
}

}  // namespace

Processes::Processes(Loop& loop, Link& link, SetupOptions const& options, Setup const& setup)
    : loop_(loop), link_(link), options_(options), setup_(setup), ready_(loop) {}

Processes::Ptr Processes::find(std::uint32_t request, Json const& j) {
    auto const it = by_id_.find(j.value("id", ""));
    if (it != by_id_.end()) return it->second;
    link_.fail(request, "not_found", "no such process: " + j.value("id", ""));
    return nullptr;
}

bool Processes::open_pipes(Process& p, bool with_stdin, int& child_in, int& child_out) {
    int out[2];
    if (::pipe2(out, O_CLOEXEC) != 0) return false;
    p.out = out[0];
    child_out = out[1];
    if (!with_stdin) {
        child_in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        return child_in >= 0;
    }
    int in[2];
    if (::pipe2(in, O_CLOEXEC) != 0) return false;
    child_in = in[0];
    p.in = in[1];
    ::fcntl(p.in, F_SETFL, O_NONBLOCK);
    return true;
}

/// stdin and stdout are one socket, as Node gives its children; stderr alone is the command's output here.
bool Processes::open_stdio(Process& p, int& ours, int& child_in, int& child_err) {
    int pair[2], err[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    ours = pair[0];
    child_in = pair[1];
    if (::pipe2(err, O_CLOEXEC) != 0) return false;
    p.out = err[0];
    child_err = err[1];
    return ::fcntl(ours, F_SETFL, O_NONBLOCK) == 0;
}

/// Above the number that the child finds it at: dup2 onto itself would leave O_CLOEXEC.
bool Processes::open_side(int& ours, int& child_side) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    ours = pair[0];
    child_side = ::fcntl(pair[1], F_DUPFD_CLOEXEC, kSideStream + 1);
    ::close(pair[1]);
    return child_side >= 0 && ::fcntl(ours, F_SETFL, O_NONBLOCK) == 0;
}

bool Processes::open_terminal(Process& p, int columns, int rows, int& child_in, int& child_out) {
    auto const size = window(columns, rows);
    int master = -1, slave = -1;
    if (::openpty(&master, &slave, nullptr, nullptr, &size) != 0) return false;
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
    ::fcntl(slave, F_SETFD, FD_CLOEXEC);
    p.out = p.in = master;
    child_in = slave;
    child_out = ::fcntl(slave, F_DUPFD_CLOEXEC, 3);
    return child_out >= 0;
}

void Processes::start(std::uint32_t request, Json const& j, std::string_view stdin_bytes) {
    auto const id = j.value("id", "");
    if (id.empty() || by_id_.contains(id)) return link_.fail(request, "exists", "process id in use: " + id);
    if (by_pid_.size() >= kMaxRunning) return link_.fail(request, "busy", "too many commands are running");

    auto p = std::make_shared<Process>(id, home_directory(options_) + "/.berth/output/" + file_name(id) + ".log");
    p->terminal = j.value("pty", false);
    bool const keep_open = j.value("stdin_open", false);
    bool const stdio = j.value("stdio_stream", false);
    bool const side = !stdio && j.value("side_stream", false);
    int child_in = -1, child_out = -1, child_side = -1, ours = -1;
    bool const opened = (stdio         ? open_stdio(*p, ours, child_in, child_out)
                         : p->terminal ? open_terminal(*p, j.value("columns", 120), j.value("rows", 40), child_in, child_out)
                                       : open_pipes(*p, keep_open || !stdin_bytes.empty(), child_in, child_out)) &&
                        (!side || open_side(ours, child_side));
    int const open_errno = errno;
    Spawned spawned;
    if (opened) {
        Spawn what;
        what.command = j.value("command", "");
        what.cwd = j.value("cwd", "/workspace");
        what.env = setup_.env.empty() ? base_environment(options_) : setup_.env;
        if (auto const env = j.find("env"); env != j.end() && env->is_object())
            for (auto const& [name, value] : env->items())
                if (value.is_string()) what.env[name] = value.get<std::string>();
        if (auto const first = j.find("path_env"); first != j.end() && first->is_object())
            for (auto const& [name, directory] : first->items()) {
                auto& path = what.env[name];
                path = directory.get<std::string>() + (path.empty() ? "" : ":" + path);
            }
        what.env[kCommandVariable] = id;
        what.env.try_emplace("PWD", what.cwd);
        what.in = child_in;
        what.out = stdio ? child_in : child_out;
        if (stdio) what.err = child_out;
        what.side = child_side;
        what.terminal = p->terminal;
        what.max_processes = setup_.max_processes;
        spawned = spawn(what, [this](Spawn const& command) { return ready_.take(command); });
    } else {
        spawned.error = std::string("cannot open the command's pipes: ") + std::strerror(open_errno);
    }
    for (int fd : {child_in, child_out, child_side})
        if (fd >= 0) ::close(fd);
    if (spawned.pid < 0) {
        if (ours >= 0) ::close(ours);
        close_in(*p);
        close_out(*p);
        return link_.fail(request, spawned.callers_fault ? "invalid" : "busy", spawned.error);
    }
    p->pid = spawned.pid;
    p->started_ms = unix_ms();
    ::fcntl(p->out, F_SETFL, O_NONBLOCK);
    loop_.watch(p->out, EPOLLIN, [this, weak = std::weak_ptr(p)](std::uint32_t events) {
        auto self = weak.lock();
        if (!self) return;
        if (self->terminal && (events & EPOLLOUT)) push_input(*self);
        if (self->out >= 0 && (events & ~EPOLLOUT)) out_ready(self);
    });
    if (p->in >= 0 && !p->terminal)
        loop_.watch(p->in, 0, [this, weak = std::weak_ptr(p)](std::uint32_t) {
            if (auto self = weak.lock()) push_input(*self);
        });
    by_id_[id] = p;
    by_pid_[p->pid] = p;
    p->input = stdin_bytes;
    p->input_ends = !keep_open;
    push_input(*p);

    bool const streams = stdio || side;
    add_waiter(p, for_exit(request, j), streams ? 0 : j.value("wait_ms", std::int64_t(0)));
    if (streams) on_stream(request, ours, stdio ? id : "");    // after the answer, which makes the stream known
}

void Processes::wait(std::uint32_t request, Json const& j) {
    auto p = find(request, j);
    if (!p) return;
    add_waiter(p, for_exit(request, j), p->running ? j.value("wait_ms", std::int64_t(0)) : 0);
}

void Processes::close_out(Process& p) {
    if (p.out < 0) return;
    loop_.forget(p.out);
    ::close(p.out);
    if (p.in == p.out) p.in = -1;
    p.out = -1;
}

void Processes::close_in(Process& p) {
    p.input.clear();
    p.input.shrink_to_fit();
    p.input_sent = 0;
    if (p.in >= 0 && p.in != p.out) {
        loop_.forget(p.in);
        ::close(p.in);
    }
    p.in = -1;
}

/// Reads what is there. Closes `out` at end of file.
std::size_t Processes::drain(Process& p, std::size_t max) {
    static char chunk[64 * 1024];
    std::size_t got = 0;
    while (p.out >= 0 && got < max) {
        ssize_t const n = ::read(p.out, chunk, sizeof chunk);
        if (n > 0) {
            p.log.append({chunk, static_cast<std::size_t>(n)});
            got += static_cast<std::size_t>(n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            // A terminal says EIO once its last user closed it. That may be a program on its way out: closing our end now
            // would hang up on it before it has said how it ends.
            if (n < 0 && p.terminal && !p.reaped) {
                loop_.change(p.out, 0);
                break;
            }
            close_out(p);
        }
    }
    return got;
}

void Processes::out_ready(Ptr const& p) {
    std::size_t const got = drain(*p, kReadPerTurn);
    if (got > 0) wake(*p);
    if (p->out < 0) {
        if (p->reaped && p->running) finish(p);
        else if (!p->running) p->log.close_spool();
    }
}

void Processes::push_input(Process& p) {
    int const fd = p.in;
    if (fd < 0) return;
    while (p.input_sent < p.input.size()) {
        ssize_t const n = ::write(fd, p.input.data() + p.input_sent, p.input.size() - p.input_sent);
        if (n >= 0) {
            p.input_sent += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN) {
            loop_.change(fd, EPOLLOUT | (p.terminal ? EPOLLIN : 0u));
            return;
        } else if (errno != EINTR) {
            return close_in(p);       // it reads no more
        }
    }
    p.input.clear();
    p.input_sent = 0;
    if (p.input.capacity() > 64 * 1024) p.input.shrink_to_fit();
    loop_.change(fd, p.terminal ? EPOLLIN : 0u);
    if (!p.input_ends) return;
    p.input_ends = false;
    if (!p.terminal) return close_in(p);
    p.input.push_back(kEndOfTransmission);
    push_input(p);
}

void Processes::input(std::uint32_t request, Json const& j, std::string_view bytes) {
    auto p = find(request, j);
    if (!p) return;
    if (!p->running) return link_.fail(request, "unavailable", "the process has ended");
    if (p->in < 0) return link_.fail(request, "unavailable", "its standard input is closed");
    if (p->input.size() - p->input_sent + bytes.size() > kMaxPendingInput)
        return link_.fail(request, "busy", "the process does not read its standard input");
    p->input.erase(0, p->input_sent);
    p->input_sent = 0;
    p->input.append(bytes);
    p->input_ends |= j.value("eof", false);
    push_input(*p);
    link_.reply(request, Json::object());
}

void Processes::resize(std::uint32_t request, Json const& j) {
    auto p = find(request, j);
    if (!p) return;
    if (!p->terminal) return link_.fail(request, "invalid", "the process has no terminal");
    auto const size = window(j.value("columns", 120), j.value("rows", 40));
    if (p->out < 0 || ::ioctl(p->out, TIOCSWINSZ, &size) != 0)
        return link_.fail(request, "unavailable", "its terminal is closed");
    link_.reply(request, Json::object());
}

void Processes::child_ended() {
    for (;;) {
        int status = 0;
        pid_t const pid = ::waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) return;
        auto const unbegun = ready_.ended(pid);
        auto const it = by_pid_.find(pid);
        if (it != by_pid_.end()) {
            auto const p = it->second;
            by_pid_.erase(it);
            if (!unbegun || !start_again(p, *unbegun)) reaped(p, status);
        }
        if (unbegun)
            for (int fd : {unbegun->in, unbegun->out}) ::close(fd);
    }
}

/// The shell that waited for it died before it began the command, which the command must not suffer from.
bool Processes::start_again(Ptr const& p, Spawn const& command) {
    if (p->stopped_by_us) return false;
    auto const spawned = spawn(command);
    if (spawned.pid < 0) {
        p->log.append(spawned.error + "\n");
        return false;
    }
    p->pid = spawned.pid;
    by_pid_[p->pid] = p;
    return true;
}

void Processes::reaped(Ptr const& p, int status) {
    p->reaped = true;
    p->ended_ms = unix_ms();
    if (WIFSIGNALED(status)) p->signal = WTERMSIG(status);
    else p->exit_code = WEXITSTATUS(status);
    if (drain(*p, kReadPerTurn) > 0) wake(*p);
    if (p->out < 0) return finish(p);
    // Something in the background still holds the output: whoever waits for the exit shall not wait for that.
    p->grace = loop_.after(kLateOutputMs, [this, weak = std::weak_ptr(p)] {
        if (auto self = weak.lock(); self && self->running) finish(self);
    });
}

void Processes::finish(Ptr const& p) {
    loop_.cancel(p->grace);
    drain(*p, kReadPerTurn);
    p->running = false;
    p->ended_serial = ++ended_serial_;
    if (!p->terminal || p->out < 0) close_in(*p);
    if (p->out < 0) p->log.close_spool();
    wake(*p);
    drop_old();
    ready_.hurry();
}

void Processes::drop_old() {
    std::vector<Ptr> ended;
    std::size_t memory = 0;
    for (auto const& [id, p] : by_id_) {
        if (p->running) continue;
        ended.push_back(p);
        memory += p->log.memory();
    }
    std::sort(ended.begin(), ended.end(), [](auto& a, auto& b) { return a->ended_serial < b->ended_serial; });
    std::size_t excess = ended.size() - std::min(ended.size(), setup_.max_processes_kept);
    for (auto const& p : ended) {
        if (excess > 0 && p->waiters.empty()) {
            --excess;
            memory -= p->log.memory();
            close_out(*p);
            p->log.remove_spool();
            by_id_.erase(p->id);
        } else if (memory > kEndedMemory) {
            memory -= p->log.memory();
            p->log.release_memory();
            memory += p->log.memory();
        }
    }
}

void Processes::add_waiter(Ptr const& p, Waiter waiter, std::int64_t wait_ms) {
    if (wait_ms > 0)
        waiter.timer = loop_.after(wait_ms, [this, weak = std::weak_ptr(p), request = waiter.request] {
            auto self = weak.lock();
            if (!self) return;
            auto const it = std::find_if(self->waiters.begin(), self->waiters.end(),
                                         [&](Waiter const& w) { return w.request == request; });
            if (it == self->waiters.end()) return;
            auto const due = *it;
            self->waiters.erase(it);
            answer(*self, due);
        });
    else if (waiter.what != Waiter::For::gone)
        return answer(*p, waiter);
    p->waiters.push_back(waiter);
}

void Processes::wake(Process& p) {
    for (auto it = p.waiters.begin(); it != p.waiters.end();) {
        bool const ready = it->what == Waiter::For::exit     ? !p.running
                           : it->what == Waiter::For::output ? !p.running || p.log.total() > it->offset
                                                             : !p.stopping && !p.running;
        if (!ready) {
            ++it;
            continue;
        }
        auto due = *it;
        it = p.waiters.erase(it);
        loop_.cancel(due.timer);
        answer(p, due);
    }
}

void Processes::forget_waiters() {
    for (auto const& [id, p] : by_id_) {
        for (auto& waiter : p->waiters) loop_.cancel(waiter.timer);
        p->waiters.clear();
    }
}

void Processes::read(std::uint32_t request, Json const& j) {
    auto p = find(request, j);
    if (!p) return;
    Waiter waiter;
    waiter.what = Waiter::For::output;
    waiter.request = request;
    waiter.offset = j.value("offset", std::uint64_t(0));
    waiter.max = std::min(j.value("max", std::size_t(64 * 1024)), kMaxAnswer);
    bool const wait = p->running && p->log.total() <= waiter.offset;
    add_waiter(p, waiter, wait ? j.value("wait_ms", std::int64_t(0)) : 0);
}

Json Processes::view(Process const& p) const {
    std::string reason;
    if (!p.running) reason = p.stopped_by_us ? "killed" : p.signal ? "signal" : "exit";
    return Json{{"id", p.id},
                {"running", p.running},
                {"pid", p.pid},
                {"exit_code", p.running ? -1 : p.exit_code},
                {"signal", p.running ? 0 : p.signal},
                {"reason", reason},
                {"started_ms", p.started_ms},
                {"ended_ms", p.running ? 0 : p.ended_ms},
                {"total", p.log.total()},
                {"first_kept", p.log.first_kept()},
                {"output_path", p.log.spool_path()}};
}

void Processes::answer(Process& p, Waiter const& waiter) {
    switch (waiter.what) {
        case Waiter::For::exit: return answer_started(p, waiter);
        case Waiter::For::output: return answer_read(p, waiter);
        case Waiter::For::gone: return link_.reply(waiter.request, view(p));
    }
}

void Processes::answer_started(Process& p, Waiter const& waiter) {
    auto body = view(p);
    std::uint64_t offset = 0;
    bool const fits = p.log.total() <= waiter.max;
    auto output = p.log.read(offset, fits ? waiter.max : waiter.max / 3);
    body["offset"] = offset;
    body["output_bytes"] = output.size();
    if (!fits) {
        std::uint64_t tail_offset = p.log.total() - (waiter.max - waiter.max / 3);
        output += p.log.read(tail_offset, waiter.max);
        body["tail_offset"] = tail_offset;
    }
    link_.reply(waiter.request, body, output);
}

void Processes::answer_read(Process& p, Waiter const& waiter) {
    auto body = view(p);
    std::uint64_t offset = waiter.offset;
    auto const output = p.log.read(offset, waiter.max);
    body["offset"] = offset;
    body["output_bytes"] = output.size();
    link_.reply(waiter.request, body, output);
}

// In a copy of a sandbox: the same command is another one there, so it gets an id of its own.
void Processes::rename(std::uint32_t request, Json const& j) {
    auto const ids = j.find("ids");
    if (ids == j.end() || !ids->is_object()) return link_.fail(request, "invalid", "rename: ids is no object");
    for (auto const& [from, to] : ids->items()) {
        auto const name = to.is_string() ? to.get<std::string>() : std::string();
        if (!by_id_.contains(from)) return link_.fail(request, "not_found", "no such process: " + from);
        if (name.empty() || by_id_.contains(name)) return link_.fail(request, "exists", "process id in use: " + name);
        auto node = by_id_.extract(from);
        node.key() = node.mapped()->id = name;
        by_id_.insert(std::move(node));
    }
    link_.reply(request, Json::object());
}

void Processes::list(std::uint32_t request) {
    auto all = Json::array();
    for (auto const& [id, p] : by_id_) all.push_back(view(*p));
    link_.reply(request, Json{{"processes", std::move(all)}});
}

}  // namespace guest
