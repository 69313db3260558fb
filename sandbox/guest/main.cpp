// Process 1 of a sandbox. Talks to the server over stdin and stdout, and outlives it.
#include "hibernation.hpp"
#include "ops.hpp"
#include "spawn.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>

namespace {

// What package managers, compilers and debuggers need, and nothing that reconfigures the machine. The guest itself keeps
// CAP_SYS_ADMIN, to bind the volume; commands lose it by this bound when they are executed.
constexpr int kCommandCapabilities[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE,     CAP_DAC_READ_SEARCH, CAP_FOWNER,     CAP_FSETID, CAP_KILL,      CAP_SETGID,
    CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,      CAP_SYS_PTRACE, CAP_MKNOD,  CAP_AUDIT_WRITE, CAP_SETFCAP};

void bound_capabilities(std::vector<int> kept) {
    if (kept.empty()) kept.assign(std::begin(kCommandCapabilities), std::end(kCommandCapabilities));
    for (int capability = 0; capability <= CAP_LAST_CAP; ++capability)
        if (std::find(kept.begin(), kept.end(), capability) == kept.end()) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

void write_small(char const* path, char const* text, std::size_t size) {
    int const fd = ::open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (::write(fd, text, size) < 0) errno = 0;
    ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
    // --test-root DIR: for tests outside a sandbox. The machine's names, mounts and limits stay as they are, DIR is the
    // home directory, the proxy port is a free one, and orphans come here although this is not process 1.
    guest::SetupOptions options;
    if (argc == 3 && std::string(argv[1]) == "--test-root") options.test_root = argv[2];

    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
    while (true) {                                   // descriptors 0 to 2 always exist, so no pipe gets such a number
        int const fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || fd > 2) {
            if (fd > 2) ::close(fd);
            break;
        }
    }
    ::close_range(3, ~0u, 0);                        // whatever else was open here is no command's business
    rlimit limit{65'536, 65'536};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 && ::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (options.test_root.empty()) {
        auto confinement = guest::Confinement::from_environment();
        bound_capabilities(confinement.capabilities());
        guest::confine_commands(std::move(confinement));
        ::prctl(PR_SET_DUMPABLE, 0);
        write_small("/proc/self/oom_score_adj", "-1000", 5);
    } else {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    if (::chdir("/") != 0) return 1;
    guest::Guest(std::move(options), 0, 1).run();
}
