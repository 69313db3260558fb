#include "loop.hpp"

#include <base/syscalls.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

namespace workspace::loop {
namespace {

using base::errc;
using base::Result;
using base::UniqueFd;

constexpr unsigned kLoopMajor = 7;  // Documentation/admin-guide/devices.txt
constexpr int kRaces = 64;          // others take the free device between the question and its use

std::string path_of(int number) { return "/dev/loop" + std::to_string(number); }

// Where /dev is not a devtmpfs, the kernel makes devices without nodes.
Result<UniqueFd> open_device(int number) {
    auto fd = base::sys::open(path_of(number), O_RDWR);
    if (fd || fd.error().code.value() != ENOENT) return fd;
    if (::mknod(path_of(number).c_str(), S_IFBLK | 0600,
                ::makedev(kLoopMajor, static_cast<unsigned>(number))) < 0 &&
        errno != EEXIST)
        return base::errno_error("mknod " + path_of(number));
    return base::sys::open(path_of(number), O_RDWR);
}

bool backs(int device_fd, dev_t device, ino_t inode) {
    loop_info64 info{};
    return ::ioctl(device_fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == device &&
           info.lo_inode == inode;
}

// Only bound devices have a loop/ directory in sysfs. Without sysfs there is nothing to find, which a
// container that has devices but no /sys must live with.
std::optional<Device> find(dev_t device, ino_t inode) {
    std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> dir(::opendir("/sys/block"));
    if (!dir) return std::nullopt;
    while (dirent const* e = ::readdir(dir.get())) {
        std::string_view const name = e->d_name;
        int number = 0;
        if (!name.starts_with("loop")) continue;
        auto const digits = name.substr(4);
        if (auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
            ec != std::errc{} || *end)
            continue;
        if (::access(("/sys/block/" + std::string(name) + "/loop").c_str(), F_OK) != 0) continue;
        auto fd = open_device(number);
        if (fd && backs(fd->get(), device, inode)) return Device{std::move(*fd), path_of(number)};
    }
    return std::nullopt;
}

}  // namespace

bool attached(dev_t device, ino_t inode) { return find(device, inode).has_value(); }

Result<Device> attach(std::string const& image) {
    auto file = base::sys::open(image, O_RDWR);
    if (!file) return file.error();
    struct stat st {};
    if (::fstat(file->get(), &st) < 0) return base::errno_error("stat " + image);
    if (auto there = find(st.st_dev, st.st_ino)) return std::move(*there);

    auto control = base::sys::open("/dev/loop-control", O_RDWR);
    if (!control) return control.error();
    for (int tries = 0; tries < kRaces; ++tries) {
        int const number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
        if (number < 0) return base::errno_error("find a free loop device");
        auto fd = open_device(number);
        if (!fd) return fd.error();
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(file->get());
        config.block_size = 4096;  // the file system's own, so that direct I/O works on any disk below
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
        std::snprintf(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE, "berth");
        if (::ioctl(fd->get(), LOOP_CONFIGURE, &config) == 0) return Device{std::move(*fd), path_of(number)};
        if (errno != EBUSY) return base::errno_error("attach " + image + " to " + path_of(number));
    }
    return base::error(errc::busy, "loop devices are taken as fast as they are found");
}

}  // namespace workspace::loop
