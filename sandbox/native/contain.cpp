#include "contain.hpp"

#include "id_ranges.hpp"
#include "namespaces.hpp"
#include "privileges.hpp"
#include "root.hpp"
#include "seccomp.hpp"
#include "user_namespace.hpp"
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sandbox::native {

namespace {

constexpr char const* kHostName = "workspace";
constexpr char const* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kMaxReport = 4096;

// What the guest puts on every command, see guest/confine.hpp.
base::Result<std::string> confinement() {
    auto filter = command_filter();
    if (!filter) return filter.error();
    return "BERTH_CONFINE=" + base::dump({{"filter", *filter}, {"capabilities", command_capabilities()}});
}

// The containment, from the outermost wall inwards. Each step says in its header what it does not stop.
base::Status become_contained() {
    if (auto s = become_root(); !s) return s;        // of the user namespace: nobody outside
    if (auto s = bring_up_loopback(); !s) return s;  // the only network there is
    if (auto s = name_host(kHostName); !s) return s;
    if (auto s = enter_root(); !s) return s;  // no file of the host from here on
    if (auto s = leave_keyring(); !s) return s;
    if (auto s = limit_resources(); !s) return s;
    if (auto s = no_new_privileges(); !s) return s;
    if (auto s = drop_capabilities(); !s) return s;
    return filter_system_calls();  // last: the steps before need what it takes away
}

base::Status run_guest() {
    auto confine = confinement();  // libseccomp's work, before its own filter is on
    if (!confine) return confine.error();
    if (auto s = become_contained(); !s) return s;
    auto null = base::sys::open("/dev/null", O_RDWR);  // the sandbox's: until now that of the host stood in
    if (!null) return null.error();
    if (::dup2(null->get(), 2) < 0) return base::errno_error("dup2");
    char const* const argv[] = {kGuestProgram, nullptr};
    char const* const env[] = {kPath, confine->c_str(), nullptr};
    ::execve(kGuestProgram, const_cast<char* const*>(argv), const_cast<char* const*>(env));
    return base::errno_error("start the guest");
}

// The child's part: waits until its ids are mapped and its root stands, and reports what failed. That its end
// of the report closes without a word means that the guest runs.
[[noreturn]] void child(int go, int report) {
    char word = 0;
    if (::read(go, &word, 1) != 1) ::_exit(1);  // the parent gave up, and says why itself
    if (::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
        ::_exit(1);  // whoever started us may have left some open
    auto null = base::sys::open("/dev/null", O_RDWR);
    if (null && ::dup2(null->get(), 2) < 0) ::_exit(1);
    if (::setsid() < 0) ::_exit(1);
    auto failed = run_guest();
    (void)base::sys::write_all(report, failed.error().message(), "report");
    ::_exit(1);
}

// Alone with its ids: it holds nothing that an image would be loaded over.
[[noreturn]] void place_holder(int go, int report) {
    char word = 0;
    if (::read(go, &word, 1) != 1) ::_exit(1);
    auto failed = become_root();
    if (failed) failed = no_new_privileges();
    if (!failed) {
        (void)base::sys::write_all(report, failed.error().message(), "report");
        ::_exit(1);
    }
    if (::setsid() < 0) ::_exit(1);
    ::close_range(0, ~0u, 0);
    for (;;) ::pause();
}

base::Status prepare(Spec const& spec, pid_t pid) {
    if (auto s = IdRanges(spec.id_ranges).hand_over(spec.first_id, spec.slot, pid); !s) return s;
    if (auto s = map_ids(pid, spec.first_id, Spec::kIds); !s) return s;
    auto users = user_namespace_of(pid);
    if (!users) return users.error();
    return assemble_root(spec, users->get());
}

// With the flags that a load opens it with once more, through a link: whoever gave it may have forbidden those.
base::Status open_anew(int fd) {
    auto again = base::sys::open("/proc/self/fd/" + std::to_string(fd), O_RDWR | O_NONBLOCK);
    if (!again) return again.error();
    if (::dup2(again->get(), fd) < 0) return base::errno_error("dup2");
    return {};
}

// Forks, prepares from outside what the child waits for, lets it go on, and hears whether it got there.
template <class Prepare>
base::Result<pid_t> start_prepared(base::Result<pid_t> (*fork_child)(), void (*run_child)(int go, int report),
                                   Prepare prepare_outside) {
    auto go = base::sys::pipe();
    if (!go) return go.error();
    auto report = base::sys::pipe();
    if (!report) return report.error();
    auto const pid = fork_child();
    if (!pid) return pid.error();
    if (*pid == 0) {
        go->second.reset();
        report->first.reset();
        run_child(go->first.get(), report->second.get());
    }
    go->first.reset();
    report->second.reset();
    base::Status ready = prepare_outside(*pid);
    if (ready) ready = base::sys::write_all(go->second.get(), "g", "start the sandbox");
    if (ready) {
        auto said = base::sys::read_all(report->first.get(), kMaxReport, "the sandbox's report");
        if (!said)
            ready = said.error();
        else if (!said->empty())
            ready = base::error(base::errc::unavailable, *said);
        else
            return *pid;
    }
    ::kill(*pid, SIGKILL);
    ::waitpid(*pid, nullptr, 0);
    return ready.error();
}

}  // namespace

base::Result<pid_t> contain(Spec const& spec) {
    for (int fd : {0, 1})
        if (auto s = open_anew(fd); !s) return s.error();
    if (auto s = mount_memory(spec); !s) return s.error();
    if (auto s = leave_host_mounts(spec); !s) return s.error();
    return start_prepared(fork_into_namespaces, child, [&](pid_t pid) { return prepare(spec, pid); });
}

base::Result<pid_t> hold_place(Spec const& spec) {
    return start_prepared(fork_into_user_namespace, place_holder, [&](pid_t pid) -> base::Status {
        if (auto s = IdRanges(spec.id_ranges).hand_over(spec.first_id, spec.slot, pid); !s) return s;
        return map_ids(pid, spec.first_id, Spec::kIds);
    });
}

}  // namespace sandbox::native
