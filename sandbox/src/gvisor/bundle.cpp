#include "bundle.hpp"

#include "../template_root.hpp"

namespace sandbox::gvisor {

using base::Json;

namespace {

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
    for (auto const& path : image.borrowed)
        mounts.push_back(mount(path.c_str(), "bind", path, {"rbind", "ro", "nosuid", "nodev"}));

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
        {"noNewPrivileges", false},      // changes nothing here: this gVisor heeds no setuid bit
    };
    return {{"ociVersion", "1.0.2"},
            {"process", std::move(process)},
            // Not read-only to the sandbox: its writes go to an overlay in its own memory.
            {"root", {{"path", image.rootfs}, {"readonly", false}}},
            {"hostname", "workspace"},
            {"mounts", std::move(mounts)},
            {"linux", std::move(linux_part)}};
}

}  // namespace sandbox::gvisor
