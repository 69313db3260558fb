#include "bundle.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>

namespace sandbox::gvisor {

using base::Json;

namespace {

constexpr char const* kGuestPath = "/berth-guest";

// What the guest hands on to commands, and what itself needs: SYS_ADMIN to bind the volume, SETPCAP to take these away from
// commands, SYS_RESOURCE to raise the number of open files. All of them hold inside gVisor's own kernel only.
constexpr char const* kCapabilities[] = {
    "CAP_CHOWN",            "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL",             "CAP_SETGID",       "CAP_SETUID",          "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",       "CAP_SYS_PTRACE",   "CAP_SYS_ADMIN",       "CAP_SYS_RESOURCE", "CAP_MKNOD",
    "CAP_AUDIT_WRITE",      "CAP_SETFCAP"};

Json mount(char const* destination, char const* type, std::string const& source, std::vector<std::string> options) {
    return {{"destination", destination}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

bool is_directory(std::string const& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace

Json make_bundle(Template const& image, std::string const& guest_binary, std::string const& slot_mount) {
    Json mounts = Json::array({
        mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
        mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
        mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
        mount("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}),
        mount("/dev/shm", "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=1777"}),
        mount("/tmp", "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=1777"}),
        // rbind, or a later restore fails; rslave, so that what is mounted there later shows up inside.
        mount("/berth", "bind", slot_mount, {"rbind", "rslave"}),
        mount(kGuestPath, "bind", guest_binary, {"rbind", "ro"}),
    });
    if (image.name == "host") {
        // Programs only. /etc is made for the sandbox: the machine's own holds secrets.
        for (char const* path : {"/usr", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/alternatives"})
            if (is_directory(path)) mounts.push_back(mount(path, "bind", path, {"rbind", "ro", "nosuid", "nodev"}));
    }

    Json const capabilities = kCapabilities;
    Json linux_part{
        {"namespaces", {{{"type", "pid"}}, {{"type", "ipc"}}, {{"type", "uts"}}, {{"type", "mount"}}, {{"type", "network"}}}},
        {"maskedPaths", {"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
                         "/proc/scsi", "/sys/firmware"}},
        {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"}},
    };
    Json process{
        {"terminal", false},
        {"user", {{"uid", 0}, {"gid", 0}}},
        {"args", {kGuestPath}},
        {"env", {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
        {"cwd", "/"},
        {"capabilities", {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
        {"rlimits", Json::array({{{"type", "RLIMIT_NOFILE"}, {"hard", 65536}, {"soft", 65536}},
                                 {{"type", "RLIMIT_CORE"}, {"hard", 0}, {"soft", 0}}})},
        {"noNewPrivileges", false},      // sudo and the like work inside, where root is nobody's root
    };
    return {{"ociVersion", "1.0.2"},
            {"process", std::move(process)},
            // Not read-only to the sandbox: its writes go to an overlay in its own memory.
            {"root", {{"path", image.rootfs}, {"readonly", false}}},
            {"hostname", "workspace"},
            {"mounts", std::move(mounts)},
            {"linux", std::move(linux_part)}};
}

base::Status prepare_root(Template const& image) {
    for (char const* name : {"/proc", "/sys", "/dev", "/tmp", "/berth", "/workspace", "/home", "/home/agent"}) {
        // A link where a directory is wanted would be followed by the bind mount, out of the image.
        struct stat st{};
        auto const path = image.rootfs + name;
        if (::lstat(path.c_str(), &st) == 0) {
            if (S_ISDIR(st.st_mode)) continue;
            return base::error(base::errc::invalid, "template " + image.name + ": " + name + " is not a directory");
        }
        if (auto s = base::sys::mkdir(path, 0755); !s) return base::wrap(s.error(), "template " + image.name);
    }
    auto file = base::sys::open(image.rootfs + kGuestPath, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0755);
    if (!file) return base::wrap(file.error(), "template " + image.name);
    return {};
}

}  // namespace sandbox::gvisor
