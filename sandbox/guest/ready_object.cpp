// Loaded into a bash that has no command yet (LD_PRELOAD, before its main): waits for the command, then lets
// main begin as if the process had been started with it. What is saved is the start up to here: fork, exec,
// the loader, and what every bash reads first. Nothing of bash has run, so nothing can differ from `bash -c
// COMMAND`.
//
// Uses only functions that every glibc has had from its start, or the object would not load in an older
// image. Where it does not load, the guest starts its shells the ordinary way.
#include "ready_message.hpp"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pwd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" char** environ;

namespace {

using namespace guest::ready;

alignas(4096) char message[kMaxMessage];  // before the command comes: what /proc/self/maps says
char* variables[kMaxVariables + 1];

unsigned long hex(char const*& at) {
    unsigned long value = 0;
    for (;; ++at) {
        if (*at >= '0' && *at <= '9')
            value = value * 16 + static_cast<unsigned long>(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value * 16 + static_cast<unsigned long>(*at - 'a' + 10);
        else
            return value;
    }
}

// Every page that main will touch is mapped now. A fault costs most under gVisor.
void touch_pages() {
    int const fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    size_t size = 0;
    for (ssize_t n;
         size < sizeof message - 1 && (n = read(fd, message + size, sizeof message - 1 - size)) > 0;)
        size += static_cast<size_t>(n);
    close(fd);
    message[size] = 0;
    for (char const* at = message; *at;) {  // 55d0-55e0 r-xp 00000000 08:01 1234 /bin/bash
        unsigned long const begin = hex(at);
        unsigned long const end = hex(++at);
        bool const readable = at[1] == 'r', writable = at[2] == 'w', shared = at[4] == 's';
        char const* newline = strchr(at, '\n');
        if (!newline) return;  // the last line may be cut
        bool const heap = newline - at > 6 && memcmp(newline - 6, "[heap]", 6) == 0;
        bool const special = newline[-1] == ']' && !heap;  // the stack is in use, the rest is the kernel's
        at = newline + 1;
        if (special || shared || !readable || end - begin > (4ul << 20)) continue;
        for (unsigned long page = begin; page < end; page += 4096) {
            auto* byte = reinterpret_cast<char volatile*>(page);
            if (byte >= message && byte < message + sizeof message) continue;
            char const value = *byte;
            if (writable) *byte = value;
        }
    }
}

// glibc keeps what it has read: the files of the locale, of the name service, and of character sets. The
// process still begins in the locale "C", as every other.
void read_ahead() {
    setlocale(LC_ALL, "C.UTF-8");
    setlocale(LC_ALL, "C");
    getpwuid(0);
    touch_pages();
}

bool receive(int& in, int& out) {
    size_t got = 0, whole = sizeof(Header);
    in = out = -1;
    while (got < whole) {
        alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
        iovec part{message + got, whole - got};
        msghdr m{};
        m.msg_iov = &part;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        ssize_t const n = recvmsg(kSocket, &m, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        if (cmsghdr* c = CMSG_FIRSTHDR(&m);
            c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(2 * sizeof(int))) {
            memcpy(&in, CMSG_DATA(c), sizeof in);
            memcpy(&out, CMSG_DATA(c) + sizeof in, sizeof out);
        }
        got += static_cast<size_t>(n);
        if (got < sizeof(Header)) continue;
        whole = reinterpret_cast<Header const*>(message)->bytes;
        if (whole < sizeof(Header) || whole > sizeof message) return false;
    }
    return in > 2 && out > 2;
}

// What ps and /proc show is the memory that the kernel laid out at the start.
void show(char* from, char* end, char const* text, size_t size) {
    size_t const room = static_cast<size_t>(end - from) - 1;
    if (size > room) size = room;
    memcpy(from, text, size);
    memset(from + size, 0, static_cast<size_t>(end - from) - size);
}

__attribute__((constructor)) void wait_for_command(int argc, char** argv, char** envp) {
    if (argc != 3 || !envp[0]) _exit(127);
    close(kObject);
    char* const arguments_end = argv[2] + strlen(argv[2]) + 1;
    char* environment_end = envp[0];
    for (char** e = envp; *e; ++e) environment_end = *e + strlen(*e) + 1;
    constexpr char kWaiting[] = "berth: waits for a command";
    constexpr char kArguments[] = "bash\0-c";
    // A command that is there already is better served by beginning.
    char first;
    if (recv(kSocket, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) read_ahead();
    prctl(PR_SET_NAME, "berth-ready");
    show(argv[0], arguments_end, kWaiting, sizeof kWaiting);
    show(envp[0], environment_end, "", 0);

    if (write(kSocket, &kReady, 1) != 1) _exit(127);
    int in = -1, out = -1;
    if (!receive(in, out)) _exit(127);
    auto const& header = *reinterpret_cast<Header const*>(message);
    if (header.variables > kMaxVariables) _exit(127);
    char* at = message + sizeof(Header);
    char* const directory = at;
    at += strlen(at) + 1;
    char* const command = at;
    at += strlen(at) + 1;
    char const* const first_variable = at;
    for (unsigned i = 0; i < header.variables; ++i) {
        variables[i] = at;
        at += strlen(at) + 1;
    }

    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(127);
    close(in);
    close(out);
    if (header.terminal && ioctl(0, TIOCSCTTY, 0) != 0) _exit(127);
    if (chdir(directory) != 0) _exit(127);
    if (header.max_processes > 0) {
        rlimit const limit{header.max_processes, header.max_processes};
        setrlimit(RLIMIT_NPROC, &limit);
    }
    prctl(PR_SET_NAME, "bash");
    memcpy(argv[0], kArguments, sizeof kArguments);
    show(argv[2], arguments_end, command, strlen(command));
    show(envp[0], environment_end, first_variable, static_cast<size_t>(at - first_variable));
    argv[2] = command;
    environ = variables;
    // From here on the command counts as begun.
    if (write(kSocket, &kTaken, 1) != 1) _exit(127);
    close(kSocket);
    errno = 0;
}

}  // namespace
