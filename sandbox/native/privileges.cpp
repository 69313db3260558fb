#include "privileges.hpp"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace sandbox::native {

namespace {

struct Rlimit {
    int what;
    char const* name;
    rlim_t most;
};
// Lowered only: raising one is the host's right, and where a host allows less that stands.
constexpr Rlimit kLimits[] = {
    {RLIMIT_NOFILE, "open files", 65'536},
    {RLIMIT_CORE, "core files", 1},                 // where the host's core pattern is a program, 1 keeps it from being run; 0 does not (core(5))
    {RLIMIT_MEMLOCK, "locked memory", 64 << 20},
    {RLIMIT_MSGQUEUE, "message queues", 819'200},
    {RLIMIT_RTPRIO, "real-time priority", 0},       // one that spins would hold a processor
    {RLIMIT_NICE, "nice", 20},                      // 20 - n: no better than 0
};

}  // namespace

std::vector<int> const& command_capabilities() {
    static std::vector<int> const all{
        CAP_CHOWN,  CAP_DAC_OVERRIDE,     CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID,      CAP_KILL,   CAP_SETGID,
        CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,      CAP_MKNOD,  CAP_AUDIT_WRITE, CAP_SETFCAP};
    return all;
}

std::vector<int> const& guest_capabilities() {
    static std::vector<int> const all{CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SYS_PTRACE, CAP_SETPCAP};
    return all;
}

base::Status no_new_privileges() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::errno_error("no_new_privs");
    return {};
}

base::Status drop_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    auto kept = command_capabilities();
    kept.insert(kept.end(), guest_capabilities().begin(), guest_capabilities().end());
    for (int capability : kept) data[capability / 32].permitted |= 1u << (capability % 32);
    for (auto& half : data) half.effective = half.permitted;
    for (int capability = 0;; ++capability) {       // to the last that this kernel knows
        if (std::find(kept.begin(), kept.end(), capability) != kept.end()) continue;
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
        if (errno == EINVAL) break;
        return base::errno_error("drop capability " + std::to_string(capability));
    }
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return base::errno_error("clear ambient capabilities");
    if (::syscall(SYS_capset, &header, data) != 0) return base::errno_error("capset");
    return {};
}

base::Status limit_resources() {
    for (auto const& [what, name, most] : kLimits) {
        rlimit limit{};
        if (::getrlimit(static_cast<__rlimit_resource_t>(what), &limit) != 0) return base::errno_error(std::string("limit of ") + name);
        limit.rlim_max = std::min(limit.rlim_max, most);
        limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
        if (what == RLIMIT_NOFILE) limit.rlim_cur = limit.rlim_max;
        if (::setrlimit(static_cast<__rlimit_resource_t>(what), &limit) != 0) return base::errno_error(std::string("limit ") + name);
    }
    return {};
}

}  // namespace sandbox::native
