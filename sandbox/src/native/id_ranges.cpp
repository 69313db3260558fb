#include "id_ranges.hpp"

#include <base/ids.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

namespace sandbox::native {

namespace {

constexpr std::uint32_t kRanges = (IdRanges::kEnd - IdRanges::kFirst) / IdRanges::kIds;

std::string target_of(std::string const& link) {
    char target[4096];
    ssize_t const n = ::readlink(link.c_str(), target, sizeof target);
    return n > 0 ? std::string(target, static_cast<std::size_t>(n)) : std::string();
}

bool exists(std::string const& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0 || errno != ENOENT;
}

// Of all servers on this machine, so that none takes for free what another has just taken.
base::Result<base::UniqueFd> lock(std::string const& directory) {
    std::error_code ec;
    std::filesystem::create_directories(directory, ec);
    if (ec) return base::Error{ec, "make " + directory};
    auto fd = base::sys::open(directory + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!fd) return fd.error();
    while (::flock(fd->get(), LOCK_EX) != 0)
        if (errno != EINTR) return base::errno_error("lock " + directory);
    return fd;
}

}  // namespace

base::Result<std::uint32_t> IdRanges::take(Slot const& slot) const {
    auto const held = lock(directory_);
    if (!held) return held.error();
    auto const bytes = base::random_bytes(2);
    std::uint32_t const start = static_cast<unsigned char>(bytes[0]) * 256u + static_cast<unsigned char>(bytes[1]);
    for (std::uint32_t i = 0; i < kRanges; ++i) {
        std::uint32_t const first = kFirst + (start + i) % kRanges * kIds;
        auto const link = directory_ + "/" + std::to_string(first);
        if (exists(link)) {
            if (exists(target_of(link))) continue;
            if (auto s = base::sys::unlink(link); !s) return s.error();
        }
        if (::symlink(slot.directory.c_str(), link.c_str()) != 0) return base::errno_error("link " + link);
        return first;
    }
    return base::error(base::errc::limit, "all " + std::to_string(kRanges) + " ranges of user ids are taken");
}

void IdRanges::give_back(std::uint32_t first, Slot const& slot) const {
    auto const link = directory_ + "/" + std::to_string(first);
    if (target_of(link) == slot.directory) (void)base::sys::unlink(link);
}

std::uint32_t IdRanges::of(Slot const& slot) const {
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory_, ec), end; !ec && it != end; it.increment(ec)) {
        if (target_of(it->path()) != slot.directory) continue;
        std::string const name = it->path().filename();
        std::uint32_t first = 0;
        std::from_chars(name.data(), name.data() + name.size(), first);
        return first;
    }
    return 0;
}

std::vector<std::string> IdRanges::holders(std::string const& slots) const {
    std::vector<std::string> out;
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory_, ec), end; !ec && it != end; it.increment(ec)) {
        std::filesystem::path const slot = target_of(it->path());
        if (slot.parent_path() == slots) out.push_back(slot.filename());
    }
    return out;
}

}  // namespace sandbox::native
