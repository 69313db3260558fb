#include "ready_shells.hpp"

#include "ready_message.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

extern "C" {
// The object's bytes, from ready_object.cpp.
extern char const berth_ready_object[];
extern char const berth_ready_object_end[];
}
asm(".section .rodata\n"
    ".global berth_ready_object\n.global berth_ready_object_end\n"
    "berth_ready_object:\n.incbin \"" BERTH_READY_OBJECT
    "\"\n"
    "berth_ready_object_end:\n.previous\n");

namespace guest {
namespace {

constexpr std::size_t kKept = 2;  // a second command comes before the first one's successor waits
constexpr int kMaxFailures = 3;
constexpr std::int64_t kPrepareLimitMs = 2'000;
constexpr std::int64_t kAfterUseMs = 100;  // the command first: two starts beside it triple its time; its end hurries the next
constexpr std::int64_t kAfterFirstMs = 50;  // who makes workspaces in a row is not slowed by those he made
constexpr std::int64_t kAgainMs = 1'000;  // after one that was killed while it waited

// Read by the loader or by glibc before main. Set, a program must start with them.
constexpr std::string_view kLoaderVariables[] = {"LD_", "GLIBC_TUNABLES", "MALLOC_", "GCONV_PATH", "LOCPATH"};

bool changes_loading(std::string const& name) {
    return std::any_of(std::begin(kLoaderVariables), std::end(kLoaderVariables),
                       [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// When what a new shell would load last changed: after an upgrade of it, the old one is not used.
std::vector<timespec> identity(char const* shell) {
    std::vector<timespec> times;
    for (char const* path : {shell, "/etc/ld.so.cache", "/etc/ld.so.preload"}) {
        struct stat st {};
        times.push_back(::stat(path, &st) == 0 ? st.st_ctim : timespec{});
    }
    return times;
}

bool same(std::vector<timespec> const& a, std::vector<timespec> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto const& x, auto const& y) {
        return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec;
    });
}

// Above the numbers that the shell inherits: dup2 onto itself would leave O_CLOEXEC.
int raised(int fd) {
    int const high = fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, ready::kObject + 1);
    if (fd >= 0) ::close(fd);
    return high;
}

int object_file() {
    int const fd = raised(::memfd_create("berth-ready", MFD_CLOEXEC));
    if (fd < 0) return -1;
    auto const size = static_cast<std::size_t>(berth_ready_object_end - berth_ready_object);
    if (::write(fd, berth_ready_object, size) == static_cast<ssize_t>(size)) return fd;
    ::close(fd);
    return -1;
}

std::string message(Spawn const& what) {
    std::string out(sizeof(ready::Header), '\0');
    for (auto const* text : {&what.cwd, &what.command}) out.append(text->c_str()).push_back('\0');
    for (auto const& [name, value] : what.env) out.append(name + "=" + value).push_back('\0');
    ready::Header header{};
    header.bytes = static_cast<std::uint32_t>(out.size());
    header.variables = static_cast<std::uint32_t>(what.env.size());
    header.max_processes = what.max_processes;
    header.terminal = what.terminal;
    std::memcpy(out.data(), &header, sizeof header);
    return out;
}

bool send(int socket, std::string const& bytes, int in, int out) {
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    auto* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    std::memcpy(CMSG_DATA(c), &in, sizeof in);
    std::memcpy(CMSG_DATA(c) + sizeof in, &out, sizeof out);
    return ::sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size());
}

// The next word of a shell; 0 when there is none yet, -1 when none will come.
int word(int socket) {
    char c = 0;
    ssize_t const n = ::recv(socket, &c, 1, MSG_DONTWAIT);
    if (n == 1) return c;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

}  // namespace

ReadyShells::ReadyShells(Loop& loop) : loop_(loop), object_(object_file()) {}

void ReadyShells::refill(std::int64_t ms) {
    if (object_ < 0) return;
    loop_.cancel(timer_);
    timer_ = loop_.after(ms, [this] { fill(); });
}

void ReadyShells::hurry() {
    if (timer_ != Loop::TimerId{}) refill(taken_ > 1 ? 0 : kAfterFirstMs);
}

void ReadyShells::fill() {
    timer_ = {};
    // One after the other: who waits for the first gets it in half the time.
    bool const comes = std::any_of(shells_.begin(), shells_.end(), [](Shell const& s) { return !s.waits; });
    if (!comes && object_ >= 0 && failures_ < kMaxFailures && shells_.size() < kept_ && !start_one()) ++failures_;
    if (shells_.empty()) prepared();
}

void ReadyShells::prepare(std::function<void()> done) {
    bool const waits = std::any_of(shells_.begin(), shells_.end(), [](Shell const& s) { return s.waits; });
    if (waits || object_ < 0 || failures_ >= kMaxFailures) return done();
    preparing_.push_back(std::move(done));
    if (limit_ == Loop::TimerId{}) limit_ = loop_.after(kPrepareLimitMs, [this] { prepared(); });
    fill();
}

void ReadyShells::prepared() {
    loop_.cancel(limit_);
    for (auto& done : std::exchange(preparing_, {})) done();
}

bool ReadyShells::start_one() {
    char const* const shell = find_bash();
    int ends[2];
    if (!shell || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
    ends[1] = raised(ends[1]);
    Shell one;
    one.identity = identity(shell);
    one.socket = ends[0];
    one.pid = ends[1] < 0 ? -1 : spawn_waiting(shell, ends[1], object_);
    if (ends[1] >= 0) ::close(ends[1]);
    if (one.pid < 0) {
        ::close(ends[0]);
        return false;
    }
    shells_.push_back(one);
    loop_.watch(one.socket, EPOLLIN, [this, pid = one.pid](std::uint32_t) { heard(pid); });
    return true;
}

void ReadyShells::heard(pid_t pid) {
    auto const it =
        std::find_if(shells_.begin(), shells_.end(), [&](Shell const& s) { return s.pid == pid; });
    if (it == shells_.end()) return;
    int const w = word(it->socket);
    if (w == 0) return;
    if (w == ready::kReady && !it->waits) {
        it->waits = works_ = true;
        failures_ = 0;
        prepared();
        if (timer_ == Loop::TimerId{}) refill(0);
        return;
    }
    if (!it->waits) ++failures_;
    drop(it);
    if (failures_ < kMaxFailures) return refill(kAgainMs);
    prepared();
}

void ReadyShells::drop(Shells::iterator it) {
    loop_.forget(it->socket);
    ::close(it->socket);  // by which it ends
    shells_.erase(it);
}

pid_t ReadyShells::take(Spawn const& what) {
    if (object_ < 0 || failures_ >= kMaxFailures) return -1;
    kept_ = kKept;
    ++taken_;
    if (timer_ == Loop::TimerId{}) refill(kAfterUseMs);
    if (std::any_of(what.env.begin(), what.env.end(), [](auto const& v) { return changes_loading(v.first); }))
        return -1;
    auto const bytes = message(what);
    if (what.err >= 0 || what.side >= 0) return -1;  // it takes two descriptors: stderr would follow stdout
    if (bytes.size() > ready::kMaxMessage || what.env.size() > ready::kMaxVariables) return -1;
    char const* const shell = find_bash();
    if (!shell) return -1;
    auto const now = identity(shell);
    while (!shells_.empty()) {
        auto const it = shells_.begin();
        if (!it->waits) {
            heard(it->pid);  // perhaps it said so just now
            if (shells_.empty() || &*shells_.begin() != &*it) continue;
        }
        // One on its way comes sooner than a new one would, if they come at all.
        if (!it->waits && !works_) return -1;
        auto const one = *it;
        Given given;
        given.socket = one.socket;
        given.command = what;
        given.command.in = ::fcntl(what.in, F_DUPFD_CLOEXEC, 3);
        given.command.out = ::fcntl(what.out, F_DUPFD_CLOEXEC, 3);
        bool const usable = given.command.in >= 0 && given.command.out >= 0 && same(one.identity, now);
        if (usable && send(one.socket, bytes, what.in, what.out)) {
            ::kill(one.pid, SIGCONT);  // somebody may have stopped all he could reach
            shells_.erase(it);
            given_[one.pid] = std::move(given);
            loop_.watch(one.socket, EPOLLIN, [this, pid = one.pid](std::uint32_t) { begun(pid); });
            return one.pid;
        }
        for (int fd : {given.command.in, given.command.out})
            if (fd >= 0) ::close(fd);
        ::kill(one.pid, SIGKILL);
        drop(it);
    }
    return -1;
}

void ReadyShells::begun(pid_t pid) {
    auto const it = given_.find(pid);
    if (it == given_.end()) return;
    int const w = word(it->second.socket);
    if (w == ready::kReady) {
        works_ = true;
        return begun(pid);
    }
    if (w != ready::kTaken) {
        if (w < 0) loop_.change(it->second.socket, 0);  // its end is told by its parent's right to know
        return;
    }
    loop_.forget(it->second.socket);
    for (int fd : {it->second.socket, it->second.command.in, it->second.command.out}) ::close(fd);
    given_.erase(it);
}

std::optional<Spawn> ReadyShells::ended(pid_t pid) {
    begun(pid);  // the last word may still lie there
    auto const it = given_.find(pid);
    if (it == given_.end()) return std::nullopt;
    auto command = std::move(it->second.command);
    loop_.forget(it->second.socket);
    ::close(it->second.socket);
    given_.erase(it);
    return command;
}

void ReadyShells::discard() {
    while (!shells_.empty()) drop(shells_.begin());
    refill(0);
}

}  // namespace guest
