#include "directory_lock.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace registry {
namespace {

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
    auto const pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd->get(), 0) < 0) return base::errno_error("truncate " + path);
    if (auto s = base::sys::write_all(fd->get(), pid, path); !s) return s.error();
    return fd;
}

}  // namespace registry
