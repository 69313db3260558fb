#include "directory_lock.hpp"

#include <base/syscalls.hpp>
#include <registry/registry.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace registry {
namespace {

// The lock itself is flock(2)'s, as `flock DIR/lock` of a script would take it. A lock of the open file description
// stands beside it, because only that kind can be asked about without being taken (F_OFD_GETLK, fcntl(2)).
struct ::flock whole_file() {
    struct ::flock l {};
    l.l_type = F_WRLCK;
    l.l_whence = SEEK_SET;
    return l;
}

std::string owner(int fd, std::string const& directory) {
    std::string const who = "another server owns " + directory;
    char text[64];
    ssize_t const n = ::pread(fd, text, sizeof text, 0);
    if (n <= 0) return who;
    std::string pid(text, static_cast<std::size_t>(n));
    pid.resize(std::min(pid.find_first_not_of("0123456789"), pid.size()));
    return pid.empty() ? who : who + " (process " + pid + ")";
}

}  // namespace

base::Result<base::UniqueFd> lock_directory(std::string const& directory) {
    auto const path = directory + "/lock";
    auto fd = base::sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!fd) return fd.error();
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) return base::error(base::errc::busy, owner(fd->get(), directory));
        return base::errno_error("flock " + path);
    }
    auto lock = whole_file();
    if (::fcntl(fd->get(), F_OFD_SETLK, &lock) < 0) {
        if (errno == EAGAIN || errno == EACCES) return base::error(base::errc::busy, owner(fd->get(), directory));
        return base::errno_error("lock " + path);
    }
    auto const pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd->get(), 0) < 0) return base::errno_error("truncate " + path);
    if (auto s = base::sys::write_all(fd->get(), pid, path); !s) return s.error();
    return fd;
}

bool directory_in_use(std::string const& directory) {
    // What cannot be looked into is nobody's as far as we can tell; opening it will say what is wrong.
    auto const fd = base::sys::open(directory + "/lock", O_RDONLY | O_NOFOLLOW);
    if (!fd) return false;
    auto lock = whole_file();
    return ::fcntl(fd->get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace registry
