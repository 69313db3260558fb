#include "namespaces.hpp"

#include <base/unique_fd.hpp>

#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sandbox::native {

base::Result<pid_t> fork_into_namespaces() {
    constexpr unsigned long kFlags =
        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    long const pid = ::syscall(SYS_clone, kFlags | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid < 0) {
        int const why = errno;
        // The kernel's own words for "no user namespaces here" are many.
        return base::errno_error(why, "make namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone)");
    }
    return static_cast<pid_t>(pid);
}

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

}  // namespace sandbox::native
