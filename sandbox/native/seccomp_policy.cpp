#include "seccomp_policy.hpp"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sandbox::native {

namespace {

constexpr char const* kFiles[] = {
    "access", "chdir", "chmod", "chown", "chroot", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchown", "fchownat", "fcntl",
    "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate",
    "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "lchown", "lgetxattr", "link", "linkat", "listxattr",
    "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open",
    "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink",
    "readlinkat", "readv", "removexattr", "rename", "renameat", "renameat2", "rmdir", "sendfile", "setxattr", "splice", "stat",
    "statfs", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink",
    "unlinkat", "utime", "utimensat", "utimes", "vmsplice", "write", "writev"};

constexpr char const* kMemory[] = {
    "brk", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap",
    "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise", "process_mrelease",
    "remap_file_pages", "get_mempolicy", "mbind", "set_mempolicy"};

constexpr char const* kProcesses[] = {
    "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "getegid", "geteuid", "getgid", "getgroups",
    "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid",
    "gettid", "getuid", "ioprio_get", "ioprio_set", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "prlimit64", "set_robust_list",
    "get_robust_list", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setpgid", "setpriority", "setregid",
    "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setuid", "times", "vfork", "wait4", "waitid", "arch_prctl",
    "prctl", "rseq", "seccomp"};

constexpr char const* kScheduling[] = {
    "getcpu", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
    "sched_yield"};

constexpr char const* kSignalsAndTime[] = {
    "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "kill", "nanosleep", "pause",
    "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "setitimer", "sigaltstack", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "tkill"};

constexpr char const* kWaiting[] = {
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "futex",
    "futex_waitv", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "pipe", "pipe2", "poll",
    "ppoll", "pselect6", "select", "signalfd", "signalfd4"};

constexpr char const* kNetwork[] = {
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg",
    "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown"};

constexpr char const* kSharedMemory[] = {
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv",
    "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget"};

constexpr char const* kDebuggers[] = {"kcmp", "process_vm_readv", "process_vm_writev", "ptrace"};

constexpr char const* kAboutTheSystem[] = {"getrandom", "sysinfo", "uname", "ustat"};

constexpr char const* kNarrowed[] = {"clone", "ioctl", "socket", "socketpair", "unshare"};

constexpr char const* kProcessOne[] = {"sethostname"};

constexpr Allowed kAllowed[] = {
    {"files, beneath the mounts that there are", kFiles},
    {"memory of the process itself", kMemory},
    {"processes, their users and limits, inside the namespaces", kProcesses},
    {"threads that choose their processor; real-time priorities are limited to none", kScheduling},
    {"signals, clocks that are read, timers", kSignalsAndTime},
    {"event loops", kWaiting},
    {"sockets, of the families that socket and socketpair grant", kNetwork},
    {"shared memory, semaphores and queues of the sandbox's own namespace: databases, browsers", kSharedMemory},
    {"gdb, strace and profilers, on processes of the same user without more rights", kDebuggers},
    {"what a program asks to know where it runs", kAboutTheSystem},
    {"threads, terminals, sockets: without the arguments that narrowed_calls() takes out", kNarrowed},
    {"process 1, which takes the workspace's name; denied to commands again", kProcessOne},
};

constexpr char const* kModules[] = {"create_module", "delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load", "reboot"};
constexpr char const* kKeys[] = {"add_key", "keyctl", "request_key"};
constexpr char const* kLandlock[] = {"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self"};
constexpr char const* kUring[] = {"io_uring_enter", "io_uring_register", "io_uring_setup"};
constexpr char const* kAio[] = {"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit"};
constexpr char const* kTracing[] = {"bpf", "fanotify_init", "fanotify_mark", "lookup_dcookie", "perf_event_open", "syslog", "userfaultfd"};
constexpr char const* kNamespaces[] = {"setns"};
constexpr char const* kNewMounts[] = {"fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree"};
constexpr char const* kUnmount[] = {"pivot_root", "umount2"};
constexpr char const* kMachine[] = {"acct", "clock_adjtime", "clock_settime", "adjtimex", "ioperm", "iopl", "modify_ldt", "move_pages",
                                    "migrate_pages", "quotactl", "quotactl_fd", "setdomainname", "settimeofday", "swapoff", "swapon",
                                    "vhangup", "nfsservctl"};
constexpr char const* kHandles[] = {"name_to_handle_at", "open_by_handle_at"};

constexpr Denied kDenied[] = {
    {"replacing or extending the kernel", EPERM, kModules},
    // ENOSYS makes libraries do without; EPERM would be reported as a broken system.
    {"the kernel's key store, which no namespace divides", ENOSYS, kKeys},
    // Nor does /proc show one, so that no image could hold it: a program that had confined itself would wake unconfined, and not know.
    {"domains that sleep would end; programs take Landlock where it is", ENOSYS, kLandlock},
    {"calls that no filter sees, in code with many past holes; event loops fall back to epoll", ENOSYS, kUring},
    {"requests of which the whole machine has one number (fs.aio-max-nr); databases fall back to threads", ENOSYS, kAio},
    {"programs in the kernel, tracing of all processes, and stopping the kernel in the middle of a copy", EPERM, kTracing},
    {"entering other namespaces", EPERM, kNamespaces},
    // Programs fall back to mount(2), which then is denied in the way they know.
    {"the newer way to mount", ENOSYS, kNewMounts},
    {"taking away what is mounted", EPERM, kUnmount},
    {"clocks, swap, quotas, ports and memory of the machine", EPERM, kMachine},
    // As file systems answer that have no handles.
    {"opening files past the mounts", EOPNOTSUPP, kHandles},
};

constexpr char const* kMounts[] = {"mount"};
constexpr char const* kNames[] = {"sethostname"};
constexpr Denied kDeniedToCommands[] = {
    {"changing what is mounted", EPERM, kMounts},
    {"renaming the host", EPERM, kNames},
};

constexpr std::uint32_t kNewNamespaces[] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS,
                                            CLONE_NEWCGROUP};
constexpr std::uint32_t kTimeNamespace = 0x80;   // CLONE_NEWTIME; in clone(2) that bit is part of the exit signal
constexpr std::uint32_t kAll = 0xffffffff;
constexpr std::uint32_t kTypes = 0xf;            // of a socket, below SOCK_NONBLOCK and SOCK_CLOEXEC
constexpr std::uint32_t kTypeIntoLinuxConsole = 0x541c;              // TIOCLINUX
constexpr std::uint32_t kFamilies = 64;          // the kernel has fewer, and refuses those beyond itself
// The default of the type, ping, TCP, UDP. The numbers beyond are tunnels and whatever modules the machine would load.
constexpr std::uint32_t kProtocols[] = {IPPROTO_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6};

// All numbers but `kept`, as conditions on an argument: the largest blocks that share their upper bits (those under `mask`) and hold none.
// Equality under a mask is all that the filter knows, and a condition for each number would be four thousand million.
void all_but(std::span<std::uint32_t const> kept, unsigned argument, std::vector<Condition>& out, std::uint32_t mask = 0,
             std::uint32_t value = 0) {
    if (std::ranges::none_of(kept, [&](auto number) { return (number & mask) == value; })) return out.push_back({argument, mask, value});
    if (mask == kAll) return;
    auto const next = mask == 0 ? 0x80000000u : (mask >> 1) & ~mask;
    for (auto const bit : {0u, next}) all_but(kept, argument, out, mask | next, value | bit);
}

}  // namespace

std::span<Allowed const> allowed_calls() { return kAllowed; }
std::span<Denied const> denied_calls() { return kDenied; }
std::span<Denied const> denied_to_commands() { return kDeniedToCommands; }

std::vector<Narrowed> narrowed_calls() {
    std::vector<Narrowed> out;
    for (auto flag : kNewNamespaces)
        for (char const* call : {"clone", "unshare"})
            out.push_back({"new namespaces, in which a process would have every capability again", EPERM, call, {{0, flag, flag}}});
    out.push_back({"a clock of its own", EPERM, "unshare", {{0, kTimeNamespace, kTimeNamespace}}});
    for (std::uint32_t request : {static_cast<std::uint32_t>(TIOCSTI), kTypeIntoLinuxConsole})
        out.push_back({"typing into somebody's terminal", EPERM, "ioctl", {{1, kAll, request}}});
    for (std::uint32_t family = 0; family < kFamilies; ++family) {
        if (family != AF_UNIX) out.push_back({"no such pairs", EAFNOSUPPORT, "socketpair", {{0, kAll, family}}});
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK) continue;
        // Programs that ask for packets take EPERM for "not root", and say so.
        out.push_back({"address families that reach the host's devices, hypervisor or cryptography, or that nobody uses",
                       family == AF_PACKET ? EPERM : EAFNOSUPPORT, "socket", {{0, kAll, family}}});
    }
    std::vector<Condition> protocols;
    all_but(kProtocols, 2, protocols);
    for (std::uint32_t family : {AF_INET, AF_INET6}) {
        for (std::uint32_t type = SOCK_RAW; type <= kTypes; ++type)
            out.push_back({"raw packets and rare protocols", EPERM, "socket", {{0, kAll, family}, {1, kTypes, type}}});
        for (auto const& protocol : protocols) out.push_back({"rare protocols", EPROTONOSUPPORT, "socket", {{0, kAll, family}, protocol}});
    }
    out.push_back({"other code of the kernel beneath a connection; TLS is done by libraries then", ENOPROTOOPT, "setsockopt",
                   {{1, kAll, IPPROTO_TCP}, {2, kAll, TCP_ULP}}});
    for (std::uint32_t protocol = 1; protocol < 32; ++protocol)
        out.push_back({"the kernel's other subsystems; routes and links are the sandbox's own", EPROTONOSUPPORT, "socket",
                       {{0, kAll, AF_NETLINK}, {2, kAll, protocol}}});
    return out;
}

std::vector<Granted> granted_calls() {
    std::vector<Granted> out;
    out.push_back({"process 1, which binds the volume into place", "mount", {3, MS_BIND, MS_BIND}});
    for (std::uint32_t persona : {0u, 8u /* PER_LINUX32 */, kAll /* asks */, static_cast<std::uint32_t>(ADDR_NO_RANDOMIZE)})
        out.push_back({"debuggers, and setarch", "personality", {0, kAll, persona}});
    return out;
}

}  // namespace sandbox::native
