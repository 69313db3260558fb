#include "server_tree.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

namespace servers {
namespace {

base::Status bind_into(std::string const& source, std::string const& target, bool read_only) {
    auto from = base::sys::open(source, O_PATH);
    if (!from) return base::error(base::errc::not_found, "the host path " + source + " is not there");
    struct stat st {};
    if (::fstat(from->get(), &st) != 0) return base::errno_error("look at " + source);
    if (S_ISDIR(st.st_mode)) {
        if (auto s = base::sys::mkdir(target, 0755); !s) return s;
    } else if (S_ISREG(st.st_mode)) {
        if (auto fd = base::sys::open(target, O_WRONLY | O_CREAT, 0644); !fd) return fd.error();
    } else {
        return base::error(base::errc::invalid, source + " is neither a directory nor a file");
    }
    if (auto s = base::sys::bind_mount("/proc/self/fd/" + std::to_string(from->get()), target); !s) return s;
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
        if (auto s = bind_into(home, root + "/home", false); !s) return s;
        if (auto s = bind_into(workspace, root + "/workspace", false); !s) return s;
        if (auto s = base::sys::mkdir(root + "/host", 0755); !s) return s;
        std::size_t n = 0;
        for (auto const* list : {&read, &write})
            for (auto const& path : *list)
                if (auto s = bind_into(path, root + "/host/" + std::to_string(n++), list == &read); !s)
                    return s;
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
