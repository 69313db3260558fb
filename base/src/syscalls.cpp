#include <base/syscalls.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>

namespace base::sys {
namespace {

template <class Call>
auto retry(Call call) {
    decltype(call()) rc;
    do rc = call();
    while (rc < 0 && errno == EINTR);
    return rc;
}

template <class Call>
Status checked(Call call, std::string context, int accepted_errno = 0) {
    if (retry(call) >= 0) return {};
    int const saved = errno;
    if (saved == accepted_errno) return {};
    return errno_error(saved, std::move(context));
}

}  // namespace

Result<UniqueFd> open(std::string const& path, int flags, mode_t mode) {
    return openat(AT_FDCWD, path, flags, mode);
}

Result<UniqueFd> openat(int dir, std::string const& path, int flags, mode_t mode) {
    int const fd = retry([&] { return ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode); });
    if (fd < 0) return errno_error("open " + path);
    return UniqueFd(fd);
}

Result<std::size_t> write(int fd, std::string_view bytes) {
    auto const n = retry([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n < 0) return errno_error("write");
    return static_cast<std::size_t>(n);
}

Status write_all(int fd, std::string_view bytes, std::string const& what) {
    while (!bytes.empty()) {
        auto n = write(fd, bytes);
        if (!n) return wrap(n.error(), what);
        bytes.remove_prefix(*n);
    }
    return {};
}

Result<std::string> read_all(int fd, std::size_t max, std::string const& what) {
    std::string out;
    // Of a file's size at once, where it says one: growing step by step touches every page several times.
    struct stat st{};
    if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        out.reserve(std::min(static_cast<std::size_t>(st.st_size), max));
    char buffer[16384];
    for (;;) {
        auto const n = retry([&] { return ::read(fd, buffer, sizeof buffer); });
        if (n < 0) return errno_error("read " + what);
        if (n == 0) return out;
        if (out.size() + static_cast<std::size_t>(n) > max)
            return error(errc::limit, what + " is larger than " + std::to_string(max) + " bytes");
        out.append(buffer, static_cast<std::size_t>(n));
    }
}

Status fsync(int fd, std::string const& what) {
    return checked([&] { return ::fsync(fd); }, "fsync " + what);
}
Status mkdir(std::string const& path, mode_t mode) {
    return checked([&] { return ::mkdir(path.c_str(), mode); }, "mkdir " + path, EEXIST);
}
Status mkfifo(std::string const& path, mode_t mode) {
    return checked([&] { return ::mkfifo(path.c_str(), mode); }, "mkfifo " + path);
}
Status unlink(std::string const& path) {
    return checked([&] { return ::unlink(path.c_str()); }, "unlink " + path, ENOENT);
}
Status rmdir(std::string const& path) {
    return checked([&] { return ::rmdir(path.c_str()); }, "rmdir " + path, ENOENT);
}
Status rename(std::string const& from, std::string const& to) {
    return checked([&] { return ::rename(from.c_str(), to.c_str()); }, "rename " + from + " to " + to);
}

Result<std::pair<UniqueFd, UniqueFd>> pipe(int flags) {
    int fds[2];
    if (::pipe2(fds, flags | O_CLOEXEC) < 0) return errno_error("pipe");
    return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Status mount(std::string const& source, std::string const& target, char const* type, unsigned long flags,
             std::string const& data) {
    return checked(
        [&] {
            return ::mount(source.c_str(), target.c_str(), type, flags, data.empty() ? nullptr : data.c_str());
        },
        "mount " + source + " at " + target);
}
Status bind_mount(std::string const& source, std::string const& target, bool recursive) {
    return mount(source, target, nullptr, MS_BIND | (recursive ? MS_REC : 0));
}
Status umount(std::string const& target, int flags) {
    // EINVAL: not a mount point. ENOENT: the directory is gone already.
    if (retry([&] { return ::umount2(target.c_str(), flags); }) == 0) return {};
    int const saved = errno;
    if (saved == EINVAL || saved == ENOENT) return {};
    return errno_error(saved, "umount " + target);
}

Result<UniqueFd> pidfd_open(pid_t pid) {
    auto const fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));   // close-on-exec by definition
    if (fd < 0) return errno_error("pidfd_open " + std::to_string(pid));
    return UniqueFd(fd);
}
Status pidfd_signal(int pidfd, int signal) {
    return checked([&] { return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); },
                   "signal through pidfd", ESRCH);
}

}  // namespace base::sys
