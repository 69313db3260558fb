#include "namespaces.hpp"

#include "user_namespace.hpp"
#include <base/files.hpp>
#include <base/unique_fd.hpp>

#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sandbox::native {

namespace {

base::Result<pid_t> fork_into(unsigned long kinds) {
    long const pid = ::syscall(SYS_clone, kinds | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid < 0) {
        int const why = errno;
        // The kernel's own words for "no user namespaces here" are many.
        return base::errno_error(
            why, "make namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone)");
    }
    return static_cast<pid_t>(pid);
}

}  // namespace

base::Result<pid_t> fork_into_namespaces() {
    return fork_into(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                     CLONE_NEWCGROUP);
}

base::Result<pid_t> fork_into_user_namespace() { return fork_into(CLONE_NEWUSER); }

base::Status bring_up_loopback() {
    base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return base::errno_error("socket");
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
    if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return base::errno_error("look at lo");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return base::errno_error("bring up lo");
    return {};
}

base::Status name_host(char const* name) {
    if (::sethostname(name, std::strlen(name)) != 0) return base::errno_error("sethostname");
    return {};
}

base::Status leave_keyring() {
    if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS)
        return base::errno_error("leave the session keyring");
    return {};
}

base::Status limit_namespaces(unsigned most) {
    for (char const* kind : {"user", "pid", "net", "mnt", "ipc", "uts", "cgroup", "time"}) {
        auto const path = std::string("/proc/sys/user/max_") + kind + "_namespaces";
        if (auto s = base::write_knob(path, std::to_string(most)); !s && s.error().code.value() != ENOENT)
            return s;
    }
    return {};
}

base::Status limit_namespaces_of(pid_t pid, unsigned most) {
    auto const users = user_namespace_of(pid);
    if (!users) return users.error();
    // These settings are those of whoever writes them.
    pid_t const writer = ::fork();
    if (writer < 0) return base::errno_error("fork");
    if (writer == 0) ::_exit(::setns(users->get(), CLONE_NEWUSER) == 0 && limit_namespaces(most) ? 0 : 1);
    int status = 0;
    while (::waitpid(writer, &status, 0) < 0)
        if (errno != EINTR) return base::errno_error("wait for the limits on namespaces");
    if (status == 0) return {};
    return base::error(base::errc::unavailable, "the limits on namespaces could not be set");
}

base::Status hide_cgroups() {
    if (::unshare(CLONE_NEWCGROUP) != 0) return base::errno_error("make a cgroup namespace");
    return {};
}

}  // namespace sandbox::native
