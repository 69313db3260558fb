#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

// One wrapper per call: retries EINTR, opens with O_CLOEXEC, and names call and object in the error's context.
// Paths here are the operator's or ours (data directory, cgroups, /proc); paths that a client or sandbox had a hand in
// go through `beneath.hpp`.
namespace base::sys {

Result<UniqueFd> open(std::string const& path, int flags, mode_t mode = 0);
Result<UniqueFd> openat(int dir, std::string const& path, int flags, mode_t mode = 0);
Result<std::size_t> write(int fd, std::string_view bytes);             ///< one write(2), may be short
Status write_all(int fd, std::string_view bytes, std::string const& what);
/// To end of file, refused with errc::limit beyond `max` bytes.
Result<std::string> read_all(int fd, std::size_t max, std::string const& what);
Status fsync(int fd, std::string const& what);
Status mkdir(std::string const& path, mode_t mode);                    ///< an existing directory is fine
Status mkfifo(std::string const& path, mode_t mode);                   ///< something at `path` is an error
Status unlink(std::string const& path);                                ///< a missing file is fine
Status rmdir(std::string const& path);                                 ///< a missing directory is fine
Status rename(std::string const& from, std::string const& to);
Result<std::pair<UniqueFd, UniqueFd>> pipe(int flags = 0);             ///< read end, write end
/// mount(2), as the options of a file system want it; `bind_mount` for a place that is there already, with what is mounted below it when
/// `recursive`.
Status mount(std::string const& source, std::string const& target, char const* type, unsigned long flags,
             std::string const& data = {});
Status bind_mount(std::string const& source, std::string const& target, bool recursive = false);
Status umount(std::string const& target, int flags = 0);               ///< not mounted is fine
Result<UniqueFd> pidfd_open(pid_t pid);
Status pidfd_signal(int pidfd, int signal);                            ///< gone already is fine

}  // namespace base::sys
