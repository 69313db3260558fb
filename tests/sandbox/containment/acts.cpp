// What sandboxed code must not be able to do, one small act each. `acts NAME` tries it and prints how it ended; without a name
// it tries all, each in a process of its own. Static, so that it runs in any image.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>

namespace {

template <class... Args>
long call(long number, Args... args) {
    return ::syscall(number, args...);
}

long connect_to(std::uint32_t address, std::uint16_t port) {
    int const s = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(address);
    to.sin_port = htons(port);
    return s < 0 ? -1 : ::connect(s, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

long write_to(char const* path, char const* text) {
    int const fd = ::open(path, O_WRONLY);
    return fd < 0 ? -1 : ::write(fd, text, ::strlen(text));
}

// As another user, runs a copy of itself that belongs to root and is setuid: 0 when that made it root.
long gain_root() {
    char const* const copy = "/opt/setuid-copy";
    int const in = ::open("/proc/self/exe", O_RDONLY), out = ::open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    if (in < 0 || out < 0) return -1;
    char chunk[65536];
    for (ssize_t n; (n = ::read(in, chunk, sizeof chunk)) > 0;)
        if (::write(out, chunk, static_cast<std::size_t>(n)) != n) return -1;
    ::fchmod(out, 04755);
    ::close(out);
    pid_t const pid = ::fork();
    if (pid == 0) {
        if (::setresgid(1000, 1000, 1000) != 0 || ::setresuid(1000, 1000, 1000) != 0) ::_exit(2);
        ::execl(copy, copy, "am I root", nullptr);
        ::_exit(3);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    ::unlink(copy);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    errno = EPERM;
    return -1;
}

long clone_with(unsigned long flags) {
    long const pid = call(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid == 0) ::_exit(0);
    if (pid > 0) ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
    return pid;
}

long type_into_terminal() {
    int const terminal = ::open("/dev/ptmx", O_RDWR | O_NOCTTY);
    char const letter = 'x';
    return terminal < 0 ? -1 : ::ioctl(terminal, TIOCSTI, &letter);
}

long real_time() {
    sched_param const p{1};
    return ::sched_setscheduler(0, SCHED_FIFO, &p);
}

long raise_files() {
    rlimit const limit{1u << 30, 1u << 30};
    return ::setrlimit(RLIMIT_NOFILE, &limit);
}

long set_clock() {
    timespec const t{1, 0};
    return ::clock_settime(CLOCK_REALTIME, &t);
}

long attach_to_guest() { return ::ptrace(PTRACE_SEIZE, 1, nullptr, nullptr); }

long read_guest() {
    char byte = 0;
    iovec const here{&byte, 1}, there{reinterpret_cast<void*>(0x400000), 1};
    return ::process_vm_readv(1, &here, 1, &there, 1, 0);
}

long open_handle() {
    struct {
        file_handle head;
        unsigned char bytes[128];
    } handle{};
    handle.head.handle_bytes = sizeof handle.bytes;
    int mount = 0;
    return ::name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount, 0);
}

long abstract_neighbour() {
    // Of the host's, were its network ours.
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    ::memcpy(to.sun_path, "\0/tmp/.X11-unix/X0", 18);
    int const s = ::socket(AF_UNIX, SOCK_STREAM, 0);
    return s < 0 ? -1 : ::connect(s, reinterpret_cast<sockaddr*>(&to), offsetof(sockaddr_un, sun_path) + 18);
}

long code_beneath_tcp() {
    int const s = ::socket(AF_INET, SOCK_STREAM, 0);
    return s < 0 ? -1 : ::setsockopt(s, IPPROTO_TCP, TCP_ULP, "tls", 3);
}

struct Act {
    char const* name;
    long (*attempt)();
};

constexpr Act kActs[] = {
    {"mount a file system", [] { return long(::mount("none", "/mnt", "tmpfs", 0, nullptr)); }},
    {"bind a directory", [] { return long(::mount("/etc", "/mnt", nullptr, MS_BIND, nullptr)); }},
    {"mount proc", [] { return long(::mount("proc", "/mnt", "proc", 0, nullptr)); }},
    {"make /proc/sys writable", [] { return long(::mount("", "/proc/sys", nullptr, MS_BIND | MS_REMOUNT, nullptr)); }},
    {"unmount /proc", [] { return long(::umount2("/proc", MNT_DETACH)); }},
    {"pivot_root", [] { return call(SYS_pivot_root, ".", "."); }},
    {"move_mount", [] { return call(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/mnt", 0); }},
    {"open_tree", [] { return call(SYS_open_tree, AT_FDCWD, "/", 1); }},
    {"fsopen", [] { return call(SYS_fsopen, "tmpfs", 0); }},
    {"mount_setattr", [] { return call(SYS_mount_setattr, AT_FDCWD, "/", 0, nullptr, 0); }},
    {"a user namespace by clone", [] { return clone_with(CLONE_NEWUSER); }},
    {"a network namespace by clone", [] { return clone_with(CLONE_NEWNET); }},
    {"clone3", [] { return call(SYS_clone3, nullptr, 0); }},
    {"a user namespace by unshare", [] { return long(::unshare(CLONE_NEWUSER)); }},
    {"a mount namespace by unshare", [] { return long(::unshare(CLONE_NEWNS)); }},
    {"enter a namespace", [] { return long(::setns(::open("/proc/1/ns/mnt", O_RDONLY), 0)); }},
    {"name the host", [] { return long(::sethostname("x", 1)); }},
    {"io_uring", [] { char p[256] = {}; return call(SYS_io_uring_setup, 1, p); }},
    {"load a program into the kernel", [] { bpf_attr a{}; return call(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a); }},
    {"trace by perf", [] { perf_event_attr a{}; a.size = sizeof a; return call(SYS_perf_event_open, &a, 0, -1, -1, 0); }},
    {"userfaultfd", [] { return call(SYS_userfaultfd, 0); }},
    {"add a key", [] { return call(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_USER_KEYRING); }},
    {"read a keyring", [] { return call(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0); }},
    {"a Landlock domain, which sleep would end", [] { return call(SYS_landlock_create_ruleset, nullptr, 0, 1u /* asks for the version */); }},
    {"load a module", [] { return call(SYS_init_module, nullptr, 0, ""); }},
    {"replace the kernel", [] { return call(SYS_kexec_load, 0, 0, nullptr, 0); }},
    {"reboot", [] { return call(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, nullptr); }},
    {"set the clock", set_clock},
    {"swap", [] { return call(SYS_swapon, "/etc/passwd", 0); }},
    {"accounting", [] { return call(SYS_acct, "/tmp/acct"); }},
    {"ports of the machine", [] { return call(SYS_iopl, 3); }},
    {"read the kernel's log", [] { char b[16]; return call(SYS_syslog, 3, b, sizeof b); }},
    {"a handle of a file", open_handle},
    {"a raw socket", [] { return long(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }},
    {"a packet socket", [] { return long(::socket(AF_PACKET, SOCK_RAW, 0)); }},
    {"the kernel's cryptography", [] { return long(::socket(AF_ALG, SOCK_SEQPACKET, 0)); }},
    {"the hypervisor's sockets", [] { return long(::socket(AF_VSOCK, SOCK_STREAM, 0)); }},
    {"audit messages", [] { return long(::socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)); }},
    {"a tunnel's socket (L2TP)", [] { return long(::socket(AF_INET, SOCK_DGRAM, 115)); }},
    {"a tunnel's socket for IPv6", [] { return long(::socket(AF_INET6, SOCK_DGRAM, 115)); }},
    {"UDP-Lite", [] { return long(::socket(AF_INET, SOCK_DGRAM, 136)); }},
    {"a socket of SMC", [] { return long(::socket(AF_INET, SOCK_STREAM, 256)); }},
    {"MPTCP", [] { return long(::socket(AF_INET6, SOCK_STREAM, 262)); }},
    {"other code beneath a connection", code_beneath_tcp},
    {"asynchronous requests of the machine", [] { aio_context_t context = 0; return call(SYS_io_setup, 1, &context); }},
    {"a public address", [] { return connect_to(0x08080808, 53); }},
    {"a private address", [] { return connect_to(0x0a000001, 80); }},
    {"the metadata address", [] { return connect_to(0xa9fea9fe, 80); }},
    {"an abstract socket of the host", abstract_neighbour},
    {"type into a terminal", type_into_terminal},
    {"executable data by personality", [] { return long(::personality(READ_IMPLIES_EXEC)); }},
    {"attach to process 1", attach_to_guest},
    {"read the memory of process 1", read_guest},
    {"open the memory of process 1", [] { return long(::open("/proc/1/mem", O_RDWR)); }},
    {"the root of process 1", [] { return long(::open("/proc/1/root/etc/shadow", O_WRONLY)); }},
    {"a disk", [] { return long(::mknod("/tmp/disk", S_IFBLK | 0600, 8 << 8)); }},
    {"kernel memory", [] { return long(::mknod("/tmp/mem", S_IFCHR | 0600, (1 << 8) | 1)); }},
    {"a setting of the machine", [] { return write_to("/proc/sys/kernel/core_pattern", "|/bin/sh"); }},
    {"real-time priority", real_time},
    {"more open files", raise_files},
    {"become root by a setuid file", gain_root},
};

char const* outcome(long result) {
    if (result >= 0) return "done";
    char const* const name = ::strerrorname_np(errno);
    return name ? name : "an unknown error";
}

int attempt(Act const& act) {
    errno = 0;
    std::printf("%s: %s\n", act.name, outcome(act.attempt()));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && ::strcmp(argv[1], "am I root") == 0) return ::geteuid() == 0 ? 0 : 1;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    for (auto const& act : kActs) {
        if (argc == 2) {
            if (::strcmp(argv[1], act.name) == 0) return attempt(act);
            continue;
        }
        pid_t const pid = ::fork();
        if (pid == 0) {
            attempt(act);
            std::fflush(stdout);
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) std::printf("%s: signal %d\n", act.name, WTERMSIG(status));
    }
    return argc == 2 ? 2 : 0;
}
