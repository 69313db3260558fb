#include "volume_directory.hpp"

#include "loop.hpp"
#include "volume_copy.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

namespace workspace::volume_directory {
namespace {

using base::errc;
using base::Status;

std::string image_of(std::string const& directory) { return directory + "/image"; }
std::string mount_of(std::string const& directory) { return directory + "/fs"; }

// Free extents smaller than this are not worth a hole in the image.
constexpr std::uint64_t kTrimExtent = 1 << 20;
constexpr int kBusyTries = 50;
constexpr auto kBusyPause = std::chrono::milliseconds(10);

void trim(std::string const& mount_point) {
    auto fd = base::sys::open(mount_point, O_RDONLY | O_DIRECTORY);
    fstrim_range range{0, ~0ull, kTrimExtent};
    if (fd) (void)::ioctl(fd->get(), FITRIM, &range);  // a host that cannot punch holes keeps the blocks
}

}  // namespace

bool has_image(std::string const& directory) { return ::access(image_of(directory).c_str(), F_OK) == 0; }

bool is_mounted(std::string const& directory) {
    struct stat above {
    }, at{};
    return ::stat(directory.c_str(), &above) == 0 && ::stat(mount_of(directory).c_str(), &at) == 0 &&
           above.st_dev != at.st_dev;
}

Status sync_directory(std::string const& path) {
    auto fd = base::sys::open(path, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    return base::sys::fsync(fd->get(), path);
}

Status prepare_image(std::string const& directory, std::uint64_t bytes) {
    if (auto ok = base::sys::mkdir(directory, 0700); !ok) return ok;
    if (auto ok = base::sys::mkdir(mount_of(directory), 0700); !ok) return ok;
    auto image = base::sys::open(image_of(directory), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!image) return image.error();
    if (::ftruncate(image->get(), static_cast<off_t>(bytes)) < 0)
        return base::errno_error("size " + image_of(directory));
    return {};
}

// fast_commit: an fsync writes a few blocks instead of a whole transaction (measured here: the price of the
// host's own). Lazy: tables that are all zeros stay holes. No reserve: root's share would only be a smaller
// quota.
std::vector<std::string> format_command(std::string const& directory, std::uint64_t bytes) {
    std::string const journal = bytes >= (256ull << 20) ? "16" : "4";
    return {"mkfs.ext4",
            "-q",
            "-F",
            "-b",
            "4096",
            "-I",
            "256",
            "-i",
            "16384",
            "-m",
            "0",
            "-O",
            "fast_commit",
            "-J",
            "size=" + journal,
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
            image_of(directory)};
}

Status furnish(std::string const& directory) {
    auto const fs = mount_of(directory);
    if (!has_image(directory)) {
        if (auto ok = base::sys::mkdir(directory, 0700); !ok) return ok;
        if (auto ok = base::sys::mkdir(fs, 0755); !ok) return ok;
    }
    for (auto const* name : {"/workspace", "/home"})
        if (auto ok = base::sys::mkdir(fs + name, 0755); !ok) return ok;
    auto fd = base::sys::open(fs, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    if (::syncfs(fd->get()) < 0) return base::errno_error("sync " + fs);
    if (has_image(directory)) {
        // The image's own extents are the host file system's to keep.
        auto image = base::sys::open(image_of(directory), O_RDONLY);
        if (!image) return image.error();
        if (auto ok = base::sys::fsync(image->get(), image_of(directory)); !ok) return ok;
    }
    return sync_directory(directory);
}

Status mount_image(std::string const& directory) {
    auto device = loop::attach(image_of(directory));
    if (!device) return device.error();
    // Never noexec: the sandbox maps programs from it. Damage makes it read-only rather than worse.
    return base::sys::mount(device->path, mount_of(directory), "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME,
                            "errors=remount-ro");
}

bool looks_damaged(base::Error const& e) {
    // ext4's words for it (fs/ext4/ext4.h): EFSCORRUPTED is EUCLEAN, EFSBADCRC is EBADMSG; EINVAL is a bad
    // superblock.
    auto const saved = e.code.value();
    return e.code.category() == boost::system::system_category() &&
           (saved == EUCLEAN || saved == EBADMSG || saved == EINVAL || saved == EIO || saved == ENODATA);
}

base::Result<std::shared_ptr<OpenVolume>> open(std::string const& id, std::string const& directory) {
    // Only our own images order data before names; of a plain directory's file system we know nothing.
    auto const sync = has_image(directory) ? base::Beneath::Sync::ordered : base::Beneath::Sync::portable;
    // The two are resolved beneath fs: what a sandbox left there could be a link by now.
    auto fs = base::Beneath::open(mount_of(directory), sync);
    if (!fs) return fs.error();
    for (auto const* name : {"workspace", "home"})
        if (auto made = fs->make_directories(name); !made) return made.error();
    auto files = fs->open_directory("workspace"), home = fs->open_directory("home");
    if (!files) return files.error();
    if (!home) return home.error();
    // What is in it was being written when an earlier server died. On a full volume files are made in their place instead.
    (void)fs->remove(kStaging, true);
    if (fs->make_directories(kStaging))
        if (auto staging = fs->open_directory(kStaging))
            for (auto* tree : {&*files, &*home}) tree->stage_in(*staging);
    return std::make_shared<OpenVolume>(id, mount_of(directory), std::move(*files), std::move(*home));
}

Status unmount(std::string const& directory, Patience patience) {
    if (!has_image(directory) || !is_mounted(directory)) return {};
    bool const wait = patience == Patience::some;
    let_go_on(directory);  // else the kernel would keep it without a name
    if (wait) trim(mount_of(directory));
    auto ok = base::sys::umount(mount_of(directory), UMOUNT_NOFOLLOW);
    // A child of ours between fork and exec holds a copy of every descriptor for a moment, also the ones just
    // closed.
    for (int i = 0; wait && i < kBusyTries && !ok && ok.error().code.value() == EBUSY; ++i) {
        std::this_thread::sleep_for(kBusyPause);
        ok = base::sys::umount(mount_of(directory), UMOUNT_NOFOLLOW);
    }
    if (!ok && ok.error().code.value() == EBUSY) return base::error(errc::busy, "the volume is in use");
    return ok;
}

Status destroy(std::string const& directory) {
    bool const image = has_image(directory);
    let_go_on(directory);
    // Mounts can be stacked when a crash came between two starts.
    for (int i = 0; image && is_mounted(directory) && i < 8; ++i) {
        auto ok = base::sys::umount(mount_of(directory), UMOUNT_NOFOLLOW);
        if (!ok) ok = base::sys::umount(mount_of(directory), MNT_DETACH | UMOUNT_NOFOLLOW);
        if (!ok) return ok;
    }
    if (!image) return base::remove_tree(directory);
    if (auto ok = base::sys::unlink(image_of(directory)); !ok) return ok;
    if (auto ok = base::sys::rmdir(mount_of(directory)); !ok) return ok;
    return base::sys::rmdir(directory);
}

}  // namespace workspace::volume_directory
