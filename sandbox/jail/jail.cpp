#include "jail.hpp"

#include "namespaces.hpp"
#include "root.hpp"
#include <base/syscalls.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace sandbox::jail {

namespace {

constexpr int kWireIn = 3, kWireOut = 4;  // as --remote-debugging-pipe wants them
constexpr rlim_t kOpenFiles = 8'192;

base::Result<base::UniqueFd> listen_on(std::uint16_t port) {
    base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 ||
        ::listen(fd.get(), SOMAXCONN) != 0)
        return base::errno_error("listen in the jail");
    return fd;
}

base::Status hand_over(int wire, int socket) {
    char word = 'j';
    iovec part{&word, 1};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof socket)]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    auto* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof socket);
    std::memcpy(CMSG_DATA(header), &socket, sizeof socket);
    if (::sendmsg(wire, &message, MSG_NOSIGNAL) != 1) return base::errno_error("hand over the socket");
    return {};
}

base::Status limit_resources() {
    rlimit const files{kOpenFiles, kOpenFiles};
    // Where the core pattern is a program, 1 keeps it from being run; 0 does not (core(5)).
    rlimit const cores{1, 1};
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0 || ::setrlimit(RLIMIT_CORE, &cores) != 0)
        return base::errno_error("setrlimit");
    return {};
}

/// Also without any capability: leaving user 0 for good clears them all (capabilities(7)).
base::Status become_nobody(uid_t uid) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0)
        return base::errno_error("become nobody");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("no_new_privs");
    // Only now: a change of user forgets it. The parent sees to the rest, see `watch`.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return base::errno_error("PR_SET_PDEATHSIG");
    return {};
}

base::Status execute(Spec const& spec, int wire) {
    if (::setsid() < 0) return base::errno_error("setsid");
    if (auto s = mount_proc(); !s) return s;
    if (auto s = limit_resources(); !s) return s;
    if (auto s = become_nobody(spec.uid); !s) return s;
    auto null = base::sys::open("/dev/null", O_RDWR);
    if (!null) return null.error();
    // Out of the way first: `wire` may be one of those that are about to be taken. Standard error stays the
    // server's.
    base::UniqueFd const held(::fcntl(wire, F_DUPFD_CLOEXEC, 16));
    if (!held || ::dup2(held.get(), kWireIn) < 0 || ::dup2(held.get(), kWireOut) < 0 ||
        ::dup2(null->get(), 0) < 0 || ::dup2(null->get(), 1) < 0)
        return base::errno_error("dup2");
    if (::close_range(kWireOut + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0) return base::errno_error("close_range");
    ::execve(spec.argv[0], spec.argv, environ);
    return base::errno_error(std::string("start ") + spec.argv[0]);
}

/// Until the child ends, or the other end of the wire has closed: then there is nobody left to look.
base::Result<int> watch(pid_t child, int wire) {
    auto ended = base::sys::pidfd_open(child);
    if (!ended) return ended.error();
    pollfd both[] = {{wire, 0, 0}, {ended->get(), POLLIN, 0}};
    while (::poll(both, 2, -1) < 0 && errno == EINTR) {
    }
    ::kill(child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return base::errno_error("waitpid");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

base::Result<int> run(Spec const& spec, int wire) {
    // The next child is process 1 of its namespace: with it ends whatever it has started.
    constexpr int kWalls =
        CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWPID;
    if (::unshare(kWalls) != 0) return base::errno_error("make namespaces");
    if (auto s = native::bring_up_loopback(); !s) return s.error();
    if (auto s = native::name_host("jail"); !s) return s.error();
    if (auto s = enter_root(); !s) return s.error();
    if (auto s = native::leave_keyring(); !s) return s.error();
    {
        auto socket = listen_on(spec.port);
        if (!socket) return socket.error();
        if (auto s = hand_over(wire, socket->get()); !s) return s.error();
    }
    pid_t const child = ::fork();
    if (child < 0) return base::errno_error("fork");
    if (child == 0) {
        auto const failed = execute(spec, wire);
        (void)base::sys::write_all(2, failed.error().message() + "\n", "report");
        ::_exit(127);
    }
    return watch(child, wire);
}

}  // namespace sandbox::jail
