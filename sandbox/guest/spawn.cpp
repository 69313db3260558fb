#include "spawn.hpp"

#include "ready_message.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace guest {
namespace {

// Builtins and keywords of bash, sorted. Most have a program of the same name that behaves a little differently.
constexpr std::string_view kShellWords[] = {
    ".",       ":",       "[",       "alias",   "bg",       "bind",   "break",   "builtin",  "caller",  "case",
    "cd",      "command", "compgen", "complete", "compopt", "continue", "coproc", "declare", "dirs",    "disown",
    "do",      "done",    "echo",    "elif",    "else",     "enable", "esac",    "eval",     "exec",    "exit",
    "export",  "false",   "fc",      "fg",      "fi",       "for",    "function", "getopts", "hash",    "help",
    "history", "if",      "in",      "jobs",    "kill",     "let",    "local",   "logout",   "mapfile", "popd",
    "printf",  "pushd",   "pwd",     "read",    "readarray", "readonly", "return", "select", "set",     "shift",
    "shopt",   "source",  "suspend", "test",    "then",     "time",   "times",   "trap",     "true",    "type",
    "typeset", "ulimit",  "umask",   "unalias", "unset",    "until",  "wait",    "while"};

bool plain_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && std::strchr("_./:=@%+,-", c));
}

bool executable_file(std::string const& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// "" when PATH has no such program.
std::string find_in_path(std::string const& name, Environment const& env, std::string const& cwd) {
    if (name.find('/') != name.npos) {
        auto const path = name[0] == '/' ? name : cwd + "/" + name;
        return executable_file(path) ? path : "";
    }
    auto const it = env.find("PATH");
    if (it == env.end()) return {};
    std::string_view rest = it->second;
    while (!rest.empty()) {
        auto const colon = rest.find(':');
        auto const dir = rest.substr(0, colon);
        rest = colon == rest.npos ? std::string_view() : rest.substr(colon + 1);
        if (dir.empty() || dir[0] != '/') continue;     // relative entries: the shell may decide
        auto path = std::string(dir) + "/" + name;
        if (executable_file(path)) return path;
    }
    return {};
}

// What a waiting shell has beside its standard descriptors; both above ready::kObject.
struct Inherited {
    int socket = -1, object = -1;
};

Confinement confinement;

struct Child {
    Spawn const& spawn;
    char const* path;
    char* const* argv;
    char* const* envp;
    Inherited inherited{};
    char const* failed_step = nullptr;
    int failed_errno = 0;
};

// Runs in the guest's memory while the guest waits (CLONE_VFORK): system calls only, and nothing may be freed or thrown.
int run_child(void* arg) {
    auto& child = *static_cast<Child*>(arg);
    auto const fail = [&child](char const* step) {
        child.failed_errno = errno;
        child.failed_step = step;
        ::_exit(127);
    };
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_DFL);   // what main() ignores
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (::setsid() < 0) fail("setsid");
    if (::dup2(child.spawn.in, 0) < 0 || ::dup2(child.spawn.out, 1) < 0 || ::dup2(child.spawn.err >= 0 ? child.spawn.err : child.spawn.out, 2) < 0)
        fail("dup2");
    if (child.inherited.socket >= 0 && (::dup2(child.inherited.socket, ready::kSocket) < 0 ||
                                        ::dup2(child.inherited.object, ready::kObject) < 0))
        fail("dup2");
    if (child.spawn.side >= 0 && ::dup2(child.spawn.side, kSideStream) < 0) fail("dup2");
    if (child.spawn.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) fail("set the controlling terminal");
    if (::chdir(child.spawn.cwd.c_str()) != 0) fail("chdir");
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (child.spawn.max_processes > 0) {
        // gVisor counts them for root too, which lacks CAP_SYS_ADMIN and CAP_SYS_RESOURCE once it is a command. The host's
        // own limit would not fail a fork: it ends the whole sandbox.
        limit.rlim_cur = limit.rlim_max = child.spawn.max_processes;
        ::setrlimit(RLIMIT_NPROC, &limit);
    }
    if (int const fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
        // Not the guest's own protection.
        if (::write(fd, "0", 1) < 0) errno = 0;
        ::close(fd);
    }
    if (int const refused = confinement.apply(); refused != 0) {
        errno = refused;
        fail("confine");
    }
    ::execve(child.path, child.argv, child.envp);
    fail("exec");
    return 127;
}

pid_t clone_child(Child& child) {
    alignas(16) static char stack[128 * 1024];
    pid_t const pid = ::clone(run_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
    if (pid < 0) {
        child.failed_errno = errno;
        child.failed_step = "fork";
        return -1;
    }
    if (!child.failed_step) return pid;
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
    return -1;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (auto& s : strings) out.push_back(s.data());
    out.push_back(nullptr);
    return out;
}

}  // namespace

void confine_commands(Confinement what) { confinement = std::move(what); }

std::vector<std::string> plain_words(std::string const& command) {
    std::vector<std::string> words;
    std::string word;
    for (char c : command) {
        if (c == ' ') {
            if (!word.empty()) words.push_back(std::move(word));
            word.clear();
        } else if (plain_char(c)) {
            word.push_back(c);
        } else {
            return {};
        }
    }
    if (!word.empty()) words.push_back(std::move(word));
    if (words.empty() || words[0].find('=') != std::string::npos || words[0][0] == '%' ||
        std::binary_search(std::begin(kShellWords), std::end(kShellWords), words[0]))
        return {};
    return words;
}

char const* find_bash() {
    for (char const* path : {"/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"})
        if (::access(path, X_OK) == 0) return path;
    return nullptr;
}

pid_t spawn_waiting(char const* shell, int socket, int object) {
    Spawn what;
    what.cwd = "/";
    what.in = what.out = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (what.in < 0) return -1;
    std::vector<std::string> words{"bash", "-c", std::string(ready::kShownCommand, ' ')};
    std::vector<std::string> variables{"LD_PRELOAD=/proc/self/fd/" + std::to_string(ready::kObject),
                                       "_=" + std::string(ready::kShownEnvironment, ' ')};
    auto argv = pointers(words);
    auto env = pointers(variables);
    Child child{what, shell, argv.data(), env.data(), {socket, object}};
    pid_t const pid = clone_child(child);
    ::close(what.in);
    return pid;
}

Spawned spawn(Spawn const& what, std::function<pid_t(Spawn const&)> const& waiting) {
    struct stat st{};
    if (::stat(what.cwd.c_str(), &st) != 0)
        return {-1, "no such directory: " + what.cwd + " (" + std::strerror(errno) + ")", true};
    if (!S_ISDIR(st.st_mode)) return {-1, "not a directory: " + what.cwd, true};

    std::vector<std::string> env_strings;
    bool shell_functions = false;
    for (auto const& [name, value] : what.env) {
        env_strings.push_back(name + "=" + value);
        shell_functions |= name == "BASH_ENV" || name.starts_with("BASH_FUNC_");
    }
    auto env = pointers(env_strings);

    if (auto words = shell_functions ? std::vector<std::string>() : plain_words(what.command); !words.empty()) {
        if (auto const path = find_in_path(words[0], what.env, what.cwd); !path.empty()) {
            auto argv = pointers(words);
            Child child{what, path.c_str(), argv.data(), env.data()};
            if (pid_t const pid = clone_child(child); pid > 0) return {pid, "", false};
            // A script without #! and the like: the shell knows what to do, or says what is wrong in its usual words.
        }
    }

    if (waiting)
        if (pid_t const pid = waiting(what); pid > 0) return {pid, "", false};

    std::string error;
    bool callers_fault = false;
    for (char const* shell : {find_bash(), "/bin/sh"}) {
        if (!shell) continue;
        std::vector<std::string> words{std::strcmp(shell, "/bin/sh") == 0 ? "sh" : "bash", "-c", what.command};
        auto argv = pointers(words);
        Child child{what, shell, argv.data(), env.data()};
        if (pid_t const pid = clone_child(child); pid > 0) return {pid, "", false};
        error = std::string("cannot start ") + shell + ": " + child.failed_step + ": " +
                std::strerror(child.failed_errno);
        callers_fault = child.failed_errno == E2BIG || std::strcmp(child.failed_step, "chdir") == 0;
        if (std::strcmp(child.failed_step, "exec") != 0 || callers_fault) break;
    }
    return {-1, error, callers_fault};
}

}  // namespace guest
