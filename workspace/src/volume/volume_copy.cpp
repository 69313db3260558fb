#include "volume_copy.hpp"

#include "loop.hpp"
#include "volume_directory.hpp"
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

namespace workspace::volume_directory {
namespace {

using base::errc;
using base::Result;
using base::Status;
using base::UniqueFd;

constexpr std::size_t kChunk = 16 << 20;  // of one copy_file_range
constexpr std::size_t kBuffer = 1 << 20;
constexpr int kDeviceLooks = 50;
constexpr std::chrono::milliseconds kDevicePause{10};

// FIFREEZE writes out what is dirty, empties the journal, and lets no one write until FITHAW. It outlives the
// one who asked for it, so a killed server's is undone by `let_go_on`.
class Standstill {
  public:
    static Result<Standstill> of(std::string const& mount_point) {
        auto fd = base::sys::open(mount_point, O_RDONLY | O_DIRECTORY);
        if (!fd) return fd.error();
        if (::ioctl(fd->get(), FIFREEZE, 0) < 0) return base::errno_error("stop writes to " + mount_point);
        return Standstill(std::move(*fd));
    }
    explicit Standstill(UniqueFd fd) : fd_(std::move(fd)) {}
    Standstill(Standstill&&) = default;
    ~Standstill() {
        if (fd_) (void)::ioctl(fd_.get(), FITHAW, 0);
    }

  private:
    UniqueFd fd_;
};

bool cannot_here(int error) {
    return error == EOPNOTSUPP || error == EXDEV || error == EINVAL || error == ENOTTY || error == ENOSYS;
}

Status read_and_write(int from, int to, off_t at, off_t end, std::string const& what, Deadline until) {
    std::vector<char> buffer(kBuffer);
    while (at < end) {
        if (auto ok = in_time(until); !ok) return ok;
        auto const want = std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(end - at));
        ssize_t const n = ::pread(from, buffer.data(), want, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return base::errno_error("read " + what);
        if (n == 0) return {};  // it got shorter
        for (ssize_t done = 0; done < n;) {
            ssize_t const put =
                ::pwrite(to, buffer.data() + done, static_cast<std::size_t>(n - done), at + done);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) return base::errno_error("write a copy of " + what);
            done += put;
        }
        at += n;
    }
    return {};
}

Status copy_range(int from, int to, off_t at, off_t end, bool& in_kernel, std::string const& what, Deadline until) {
    while (in_kernel && at < end) {
        if (auto ok = in_time(until); !ok) return ok;
        off_t in = at, out = at;
        auto const want = std::min<std::size_t>(kChunk, static_cast<std::size_t>(end - at));
        ssize_t const n = ::copy_file_range(from, &in, to, &out, want, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && cannot_here(errno))
            in_kernel = false;
        else if (n < 0)
            return base::errno_error("copy " + what);
        else if (n == 0)
            return {};
        else
            at += n;
    }
    return read_and_write(from, to, at, end, what, until);
}

base::Error full(base::Error e) {
    if (e.code.value() != ENOSPC && e.code.value() != EDQUOT) return e;
    return base::error(errc::limit, "the disk has no space left for a copy of the workspace's files");
}

Result<Copy> copy_image(std::string const& from, std::string const& to, Deadline until) {
    if (auto ok = base::sys::mkdir(to + "/fs", 0700); !ok) return ok.error();
    auto source = base::sys::open(from + "/image", O_RDONLY | O_NOFOLLOW);
    if (!source) return source.error();
    auto image = base::sys::open(to + "/image", O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!image) return image.error();
    Copy done;
    {
        std::vector<Standstill> still;
        if (is_mounted(from)) {
            auto one = Standstill::of(from + "/fs");
            if (!one) return one.error();
            still.push_back(std::move(*one));
        }
        struct stat st {};
        if (::fstat(source->get(), &st) < 0) return base::errno_error("stat " + from + "/image");
        // Mounted elsewhere only: its device holds what the file has not.
        bool elsewhere = still.empty() && loop::attached(st.st_dev, st.st_ino);
        for (int i = 0; elsewhere && i < kDeviceLooks; ++i) {  // one that was just unmounted may be on its way out
            std::this_thread::sleep_for(kDevicePause);
            elsewhere = loop::attached(st.st_dev, st.st_ino);
        }
        if (elsewhere)
            return base::error(errc::busy, "the volume is in use where its writes cannot be stopped");
        auto shared =
            copy_file(source->get(), image->get(), static_cast<std::uint64_t>(st.st_size), from + "/image", until);
        if (!shared) return shared.error();
        done.shared = *shared;
    }
    if (auto ok = base::sys::fsync(image->get(), to + "/image"); !ok) return ok.error();
    struct stat st {};
    if (::fstat(image->get(), &st) < 0) return base::errno_error("stat " + to + "/image");
    done.bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
    return done;
}

Result<Copy> copy_plain(std::string const& from, std::string const& to, Deadline until) {
    Copy done;
    if (auto ok = base::sys::mkdir(to + "/fs", 0755); !ok) return ok.error();
    if (auto ok = copy_tree(from + "/fs", to + "/fs", kStaging, done.bytes, until); !ok) return ok.error();
    auto fd = base::sys::open(to + "/fs", O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    if (::syncfs(fd->get()) < 0) return base::errno_error("sync " + to);
    return done;
}

}  // namespace

Status in_time(Deadline until) {
    if (std::chrono::steady_clock::now() < until) return {};
    return base::error(errc::timed_out, "the files were not copied in time");
}

Result<bool> copy_file(int from, int to, std::uint64_t size, std::string const& what, Deadline until) {
    if (::ioctl(to, FICLONE, from) == 0) return true;
    if (!cannot_here(errno)) return base::errno_error("share the blocks of " + what);
    if (::ftruncate(to, static_cast<off_t>(size)) < 0) return base::errno_error("size a copy of " + what);
    auto const end = static_cast<off_t>(size);
    bool in_kernel = true;
    for (off_t at = 0; at < end;) {
        off_t const data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;  // holes to the end
        if (data < 0) return base::errno_error("look for data in " + what);
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0) return base::errno_error("look for a hole in " + what);
        hole = std::min(hole, end);
        if (data >= end) break;
        if (auto ok = copy_range(from, to, data, hole, in_kernel, what, until); !ok) return ok.error();
        at = hole;
    }
    return false;
}

void let_go_on(std::string const& directory) {
    if (!has_image(directory) || !is_mounted(directory)) return;
    if (auto fd = base::sys::open(directory + "/fs", O_RDONLY | O_DIRECTORY))
        (void)::ioctl(fd->get(), FITHAW, 0);  // EINVAL when it does not stand still
}

Result<Copy> copy(std::string const& from, std::string const& to, Deadline until) {
    if (::access((from + "/fs").c_str(), F_OK) != 0)
        return base::error(errc::not_found, "there is no such volume");
    if (::mkdir(to.c_str(), 0700) < 0) return base::errno_error("make " + to);
    auto done = has_image(from) ? copy_image(from, to, until) : copy_plain(from, to, until);
    if (done)
        if (auto ok = sync_directory(to); !ok) done = ok.error();
    if (!done) {
        (void)destroy(to);
        return full(done.error());
    }
    return done;
}

}  // namespace workspace::volume_directory
