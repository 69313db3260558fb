#include "root.hpp"

#include "idmap.hpp"
#include "namespaces.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace sandbox::native {

using base::sys::mount;

namespace {

// Directories of the template can be renamed, as package managers do.
constexpr char const* kOverlay = "lowerdir=lower,upperdir=upper/up,workdir=upper/work,redirect_dir=on,index=off,metacopy=off";

constexpr unsigned long kInert = MS_NOSUID | MS_NODEV | MS_NOEXEC;

// Links of /dev: name and target.
constexpr std::pair<char const*, char const*> kDeviceLinks[] = {
    {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
    {"ptmx", "pts/ptmx"}};

// What tells of the whole machine or its hardware, or reaches it. Those that do not exist are no loss.
constexpr char const* kHidden[] = {
    "/proc/acpi",     "/proc/bus",     "/proc/asound",     "/proc/kcore",      "/proc/keys",        "/proc/key-users",  "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",     "/proc/interrupts", "/proc/softirqs",
    "/proc/kallsyms", "/proc/modules",    "/proc/iomem",      "/proc/ioports",     "/proc/config.gz",
    "/proc/diskstats", "/proc/partitions", "/proc/swaps",     "/proc/slabinfo",    "/proc/vmallocinfo", "/proc/pagetypeinfo",
    "/proc/zoneinfo", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/dma",        "/proc/driver",
    "/proc/kmsg",     "/proc/crypto",     "/proc/cmdline",     "/proc/devices",    "/proc/misc"};
// What may be looked at. The network's settings are the sandbox's own, and are left to it.
constexpr char const* kReadOnly[] = {"/proc/fs", "/proc/irq", "/proc/sysrq-trigger", "/proc/mtrr"};

bool is_directory(std::string const& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

base::Status write_new(std::string const& path, std::string const& text, mode_t mode) {
    auto fd = base::sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    if (!fd) return fd.error();
    return base::sys::write_all(fd->get(), text, "write " + path);
}

base::Status remount(std::string const& path, unsigned long flags) {
    return mount("", path, nullptr, MS_BIND | MS_REMOUNT | flags);
}

base::Status bind_read_only(std::string const& from, std::string const& to, unsigned long flags) {
    if (auto s = base::sys::bind_mount(from, to, true); !s) return s;
    return remount(to, MS_RDONLY | flags);
}

base::Status make_devices(std::string const& dev) {
    if (auto s = mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC | MS_STRICTATIME, "mode=755,size=65536k"); !s) return s;
    for (char const* name : kDevices) {
        auto const target = dev + "/" + name;
        if (auto s = write_new(target, "", 0666); !s) return s;
        if (auto s = base::sys::bind_mount(std::string("/dev/") + name, target); !s) return s;
    }
    for (auto const& [name, target] : kDeviceLinks)
        if (::symlink(target, (dev + "/" + name).c_str()) != 0) return base::errno_error(std::string("link /dev/") + name);
    for (char const* name : {"/pts", "/shm", "/mqueue"})
        if (auto s = base::sys::mkdir(dev + name, 0755); !s) return s;
    if (auto s = mount("devpts", dev + "/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); !s)
        return s;
    if (auto s = mount("tmpfs", dev + "/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"); !s) return s;
    // A kernel without message queues is no reason to fail.
    if (auto s = mount("mqueue", dev + "/mqueue", "mqueue", kInert); !s && s.error().code.value() != ENODEV) return s;
    return {};
}

// Instead of the machine's /sys, which shows its devices: how many processors there are is all that programs look up there.
base::Status make_sys(std::string const& sys) {
    if (auto s = mount("tmpfs", sys, "tmpfs", kInert, "mode=755,size=1024k"); !s) return s;
    std::string path = sys;
    for (char const* name : {"/devices", "/system", "/cpu"}) {
        path += name;
        if (auto s = base::sys::mkdir(path, 0755); !s) return s;
    }
    for (char const* name : {"/online", "/possible", "/present"})
        if (auto text = base::read_file(std::string("/sys/devices/system/cpu") + name, 4096))
            if (auto s = write_new(path + name, *text, 0444); !s) return s;
    return mount("", sys, nullptr, MS_REMOUNT | MS_RDONLY | kInert, "mode=755,size=1024k");
}

// With what is below `root` now, and seen from there.
base::Status make_root(std::string const& root) {
    if (::chdir(root.c_str()) != 0) return base::errno_error("chdir " + root);
    // The old root comes to lie on top of the new one, and is taken away from there: no directory for it is needed (pivot_root(2)).
    if (::syscall(SYS_pivot_root, ".", ".") != 0) return base::errno_error("pivot_root");
    if (auto s = base::sys::umount(".", MNT_DETACH); !s) return s;
    if (::chdir("/") != 0) return base::errno_error("chdir /");
    return {};
}

base::Status narrow_proc() {
    for (char const* path : kHidden) {
        struct stat st{};
        if (::lstat(path, &st) != 0) continue;
        if (S_ISDIR(st.st_mode)) {
            if (auto s = mount("tmpfs", path, "tmpfs", MS_RDONLY | kInert, "size=0k,mode=555"); !s) return s;
        } else if (auto s = base::sys::bind_mount("/dev/null", path); !s) {
            return s;
        }
    }
    for (char const* path : kReadOnly) {
        struct stat st{};
        if (::lstat(path, &st) != 0) continue;
        if (auto s = bind_read_only(path, path, kInert); !s) return s;
    }
    if (auto s = limit_namespaces(0); !s) return s;
    // All settings but those of its own network.
    if (auto s = bind_read_only("/proc/sys", "/proc/sys", kInert); !s) return s;
    if (is_directory("/proc/sys/net")) {
        if (auto s = base::sys::bind_mount("/proc/sys/net", "/proc/sys/net"); !s) return s;
        if (auto s = remount("/proc/sys/net", kInert); !s) return s;
    }
    return {};
}

}  // namespace

std::span<char const* const> hidden_paths() { return kHidden; }

base::Status mount_memory(Spec const& spec) {
    auto const upper = spec.directory + "/upper";
    if (auto s = base::sys::mkdir(upper, 0700); !s) return s;
    if (auto s = mount("berth", upper, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700"); !s) return s;
    for (char const* name : {"/up", "/work"})
        if (auto s = base::sys::mkdir(upper + name, 0755); !s) return s;
    auto const up = upper + "/up";
    if (::chown(up.c_str(), spec.first_id, spec.first_id) != 0) return base::errno_error("chown " + up);
    return {};
}

base::Status leave_host_mounts(Spec const& spec) {
    if (::unshare(CLONE_NEWNS) != 0) return base::errno_error("make a mount namespace");
    if (auto s = mount("", "/", nullptr, MS_REC | MS_SLAVE); !s) return s;
    if (::chdir(spec.directory.c_str()) != 0) return base::errno_error("chdir " + spec.directory);
    return {};
}

base::Status assemble_template(Spec const& spec, int user_namespace) {
    std::string const lower = "lower", root = kRoot;
    for (auto const& path : {lower, root})
        if (auto s = base::sys::mkdir(path, 0755); !s) return s;
    // An overlay shows no mounts below its layers in any case, only what they cover. One that cannot have the sandbox's ids (a /proc
    // that somebody mounted there) is no reason to fail.
    if (auto s = mount_with_ids(spec.rootfs, lower, user_namespace, true, Below::left_out); !s) return s;
    // Mounted out here, an overlay notes what it hides and renames in attributes that nobody inside can write.
    if (auto s = mount("overlay", root, "overlay", MS_NODEV, kOverlay); !s) return s;
    return base::sys::umount(lower);
}

base::Status assemble_root(Spec const& spec, int user_namespace) {
    std::string const root = kRoot;
    if (auto s = assemble_template(spec, user_namespace); !s) return s;
    if (auto s = bind_read_only(spec.guest_binary, root + kGuestProgram, MS_NOSUID | MS_NODEV); !s) return s;
    for (auto const& bind : spec.binds)
        if (auto s = mount_with_ids(bind.from, root + bind.to, user_namespace, true); !s) return s;
    // As it is, without ids: nothing can be written there, and the volume brings its own.
    return base::sys::bind_mount(spec.slot_mount, root + "/berth", true);
}

base::Status enter_root() {
    if (::unshare(CLONE_NEWNS) != 0) return base::errno_error("make the sandbox's mount namespace");
    std::string const root = kRoot;
    // What came with the namespace is locked in its place, and cannot become a root; a copy of it can.
    if (auto s = base::sys::bind_mount(root, root, true); !s) return s;
    if (auto s = mount("proc", root + "/proc", "proc", kInert); !s)
        return base::wrap(s.error(), "a /proc of its own (inside a container the host's must not be masked)");
    if (auto s = make_devices(root + "/dev"); !s) return s;
    if (auto s = make_sys(root + "/sys"); !s) return s;
    if (auto s = mount("tmpfs", root + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"); !s) return s;
    if (auto s = make_root(root); !s) return s;
    return narrow_proc();
}

}  // namespace sandbox::native
