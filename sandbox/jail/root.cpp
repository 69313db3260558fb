#include "root.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

namespace sandbox::jail {

using base::sys::mount;

namespace {

constexpr char const* kRoot =
    "/tmp";  // of the host: there on every machine, and hidden by what is put together on it
constexpr unsigned long kInert = MS_NOSUID | MS_NODEV | MS_NOEXEC;
constexpr char const* kSmall = "mode=755,size=4m";
constexpr char const* kScratch = "mode=1777,size=512m";  // counts as the jail's memory

constexpr char const* kPrograms[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
constexpr char const* kSettings[] = {"/etc/fonts", "/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime",
                                     "/var/cache/fontconfig"};
constexpr char const* kDevices[] = {"null", "zero", "full", "random", "urandom"};
// What of /proc tells of the machine or its hardware.
constexpr char const* kHidden[] = {"/proc/acpi",       "/proc/bus",     "/proc/kallsyms",
                                   "/proc/kcore",      "/proc/keys",    "/proc/key-users",
                                   "/proc/kmsg",       "/proc/modules", "/proc/sched_debug",
                                   "/proc/timer_list", "/proc/cmdline", "/proc/interrupts"};

base::Status make_file(std::string const& path) {
    auto fd = base::sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0444);
    return fd ? base::Status() : base::Status(fd.error());
}

base::Status show(std::string const& path, std::string const& at, bool directory) {
    std::error_code ec;
    auto const above = std::filesystem::path(at).parent_path();
    std::filesystem::create_directories(above, ec);
    if (ec) return base::Error{ec, "make " + above.string()};
    if (auto s = directory ? base::sys::mkdir(at, 0755) : make_file(at); !s) return s;
    if (auto s = base::sys::bind_mount(path, at); !s) return s;
    return mount("", at, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV);
}

/// What is a link stays one: /lib is usr/lib on most machines.
base::Status show_as_it_is(std::string const& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) return {};
    if (!S_ISLNK(st.st_mode)) return show(path, kRoot + path, S_ISDIR(st.st_mode));
    auto const target = std::filesystem::read_symlink(path);
    if (::symlink(target.c_str(), (kRoot + path).c_str()) != 0) return base::errno_error("link " + path);
    return {};
}

base::Status show_settings(std::string const& path) {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) return {};
    return show(path, kRoot + path, S_ISDIR(st.st_mode));
}

base::Status make_devices() {
    auto const dev = std::string(kRoot) + "/dev";
    if (auto s = base::sys::mkdir(dev, 0755); !s) return s;
    if (auto s = base::sys::mkdir(dev + "/shm", 0755); !s) return s;
    if (auto s = mount("tmpfs", dev + "/shm", "tmpfs", kInert, kScratch); !s) return s;
    for (std::string const name : kDevices) {
        if (auto s = make_file(dev + "/" + name); !s) return s;
        if (auto s = base::sys::bind_mount("/dev/" + name, dev + "/" + name); !s) return s;
        if (auto s = mount("", dev + "/" + name, nullptr, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NOEXEC); !s)
            return s;
    }
    if (::symlink("/proc/self/fd", (dev + "/fd").c_str()) != 0) return base::errno_error("link /dev/fd");
    return {};
}

}  // namespace

base::Status enter_root() {
    if (auto s = mount("", "/", nullptr, MS_REC | MS_PRIVATE); !s) return s;
    if (auto s = mount("jail", kRoot, "tmpfs", MS_NOSUID | MS_NODEV, kSmall); !s) return s;
    for (char const* path : kPrograms)
        if (auto s = show_as_it_is(path); !s) return s;
    for (char const* path : kSettings)
        if (auto s = show_settings(path); !s) return s;
    // What the operator put beside the distribution's programs is nobody's business here.
    if (::access((std::string(kRoot) + "/usr/local").c_str(), F_OK) == 0)
        if (auto s = mount("tmpfs", std::string(kRoot) + "/usr/local", "tmpfs", kInert | MS_RDONLY,
                           "mode=755,size=0k");
            !s)
            return s;
    if (auto s = make_devices(); !s) return s;
    for (char const* name : {"/proc", "/sys", "/tmp"})
        if (auto s = base::sys::mkdir(std::string(kRoot) + name, 0755); !s) return s;
    if (auto s = mount("tmpfs", std::string(kRoot) + "/tmp", "tmpfs", kInert, kScratch); !s) return s;
    if (auto s = mount("", kRoot, nullptr, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, kSmall); !s)
        return s;
    if (::chdir(kRoot) != 0) return base::errno_error("chdir");
    // The old root comes to lie on top of the new one, and is taken away from there (pivot_root(2)).
    if (::syscall(SYS_pivot_root, ".", ".") != 0) return base::errno_error("pivot_root");
    if (auto s = base::sys::umount(".", MNT_DETACH); !s) return s;
    if (::chdir("/") != 0) return base::errno_error("chdir /");
    return {};
}

base::Status mount_proc() {
    if (auto s = mount("proc", "/proc", "proc", kInert); !s) return s;
    for (char const* path : kHidden) {
        struct stat st {};
        if (::lstat(path, &st) != 0) continue;
        auto const hidden = S_ISDIR(st.st_mode)
                                ? mount("tmpfs", path, "tmpfs", MS_RDONLY | kInert, "size=0k,mode=555")
                                : base::sys::bind_mount("/dev/null", path);
        if (!hidden) return hidden;
    }
    return {};
}

}  // namespace sandbox::jail
