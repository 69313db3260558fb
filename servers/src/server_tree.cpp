#include "server_tree.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>

namespace servers {
namespace {

/// Without following links: whoever may write beside a source could otherwise have any part of the host mounted.
base::Result<base::UniqueFd> open_source(std::string const& path, int flags, std::uint64_t resolve) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(O_PATH | O_CLOEXEC | flags);
    how.resolve = resolve;
    for (;;) {
        auto const fd = static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how));
        if (fd >= 0) return base::UniqueFd(fd);
        if (errno == EINTR) continue;
        if (errno == ELOOP || (errno == ENOTDIR && (flags & O_NOFOLLOW)))
            return base::error(base::errc::denied, "the host path " + path +
                                                       " is or goes through a symbolic link, or is of another "
                                                       "kind; name the path that it stands for");
        return base::error(base::errc::not_found, "the host path " + path + " is not there");
    }
}

base::Status bind_into(base::UniqueFd const& from, std::string const& source, std::string const& target,
                       bool read_only) {
    struct stat st {};
    if (::fstat(from.get(), &st) != 0) return base::errno_error("look at " + source);
    if (S_ISDIR(st.st_mode)) {
        if (auto s = base::sys::mkdir(target, 0755); !s) return s;
    } else if (S_ISREG(st.st_mode)) {
        if (auto fd = base::sys::open(target, O_WRONLY | O_CREAT, 0644); !fd) return fd.error();
    } else {
        return base::error(base::errc::invalid, source + " is neither a directory nor a file");
    }
    if (auto s = base::sys::bind_mount("/proc/self/fd/" + std::to_string(from.get()), target); !s) return s;
    auto const flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV |
                       (read_only ? static_cast<unsigned long>(MS_RDONLY) : 0ul);
    return base::sys::mount("", target, nullptr, flags);
}

}  // namespace

base::Status ServerTree::mount() const {
    unmount();
    if (auto s = base::sys::mkdir(root, 0700); !s) return s;
    if (auto s =
            base::sys::mount("berth", root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=256k");
        !s)
        return s;
    auto const all = [&]() -> base::Status {
        if (auto s = base::sys::mount("", root, nullptr, MS_PRIVATE); !s) return s;
        for (auto const& [path, place] : {std::pair(home, "/home"), std::pair(workspace, "/workspace")}) {
            auto from = open_source(path, O_NOFOLLOW | O_DIRECTORY, 0);
            if (!from) return from.error();
            if (auto s = bind_into(*from, path, root + place, false); !s) return s;
        }
        if (auto s = base::sys::mkdir(root + "/host", 0755); !s) return s;
        std::size_t n = 0;
        for (auto const* list : {&read, &write})
            for (auto const& path : *list) {
                auto from = open_source(path, 0, RESOLVE_NO_SYMLINKS);
                if (!from) return from.error();
                auto const target = root + "/host/" + std::to_string(n++);
                if (auto s = bind_into(*from, path, target, list == &read); !s) return s;
            }
        return base::sys::mount("", root, nullptr,
                                MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
    };
    auto done = all();
    if (!done) unmount();
    return done;
}

void ServerTree::unmount() const {
    // Lazily, with everything below: nothing but a sandbox that is gone had it open.
    while (::umount2(root.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    (void)base::sys::rmdir(root);
}

std::map<std::string, std::string> ServerTree::binds() const {
    std::map<std::string, std::string> out;
    std::size_t n = 0;
    for (auto const* list : {&read, &write})
        for (auto const& path : *list) out[path] = "host/" + std::to_string(n++);
    return out;
}

}  // namespace servers
