#include "id_ranges.hpp"

#include <base/ids.hpp>
#include <base/processes.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <sstream>

namespace sandbox::native {

namespace {

constexpr std::uint32_t kRanges = (IdRanges::kEnd - IdRanges::kFirst) / IdRanges::kIds;
constexpr char const* kNext = "/next";           // a link on its way to its name

// Numbers of processes mean something within one pid namespace.
ino_t pid_namespace() {
    static ino_t const ours = [] {
        struct stat st{};
        return ::stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
    }();
    return ours;
}

// A link's text: "NAMESPACE PID START SLOT".
struct Claim {
    ino_t pids = 0;
    pid_t pid = 0;
    std::uint64_t start = 0;
    std::string slot;

    static Claim of_process(pid_t pid, std::string slot) { return {pid_namespace(), pid, base::process_start(pid), std::move(slot)}; }
    std::string text() const {
        return std::to_string(pids) + " " + std::to_string(pid) + " " + std::to_string(start) + " " + slot;
    }
    // What cannot be judged from here is taken.
    bool holds() const { return pids != pid_namespace() || (start != 0 && base::process_start(pid) == start); }
};

// Nothing there, or nobody's: an empty slot.
Claim read_claim(std::string const& link) {
    char text[4096 + 64];
    ssize_t const n = ::readlink(link.c_str(), text, sizeof text);
    Claim claim;
    if (n <= 0) return claim;
    std::istringstream words(std::string(text, static_cast<std::size_t>(n)));
    words >> claim.pids >> claim.pid >> claim.start >> std::ws;
    std::getline(words, claim.slot);
    return claim;
}

bool exists(std::string const& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0 || errno != ENOENT;
}

// Of all servers that share the directory, so that none takes for free what another has just taken.
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

// In one step, so that nobody who dies meanwhile leaves half of it. Under the lock.
base::Status write_claim(std::string const& directory, std::string const& link, Claim const& claim) {
    auto const next = directory + kNext;
    if (auto s = base::sys::unlink(next); !s) return s;
    if (::symlink(claim.text().c_str(), next.c_str()) != 0) return base::errno_error("link " + next);
    return base::sys::rename(next, link);
}

// Calls `look` with each range's first id and claim until it says that it has seen enough.
template <class Look>
void for_each_claim(std::string const& directory, Look const& look) {
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
        std::string const name = it->path().filename();
        std::uint32_t first = 0;
        auto const [last, wrong] = std::from_chars(name.data(), name.data() + name.size(), first);
        if (wrong != std::errc() || last != name.data() + name.size()) continue;
        if (look(first, read_claim(it->path()))) return;
    }
}

}  // namespace

base::Result<std::uint32_t> IdRanges::take(std::string const& slot) const {
    auto const held = lock(directory_);
    if (!held) return held.error();
    auto const bytes = base::random_bytes(2);
    std::uint32_t const start = static_cast<unsigned char>(bytes[0]) * 256u + static_cast<unsigned char>(bytes[1]);
    for (std::uint32_t i = 0; i < kRanges; ++i) {
        std::uint32_t const first = kFirst + (start + i) % kRanges * kIds;
        if (exists(link(first)) && read_claim(link(first)).holds()) continue;
        if (auto s = write_claim(directory_, link(first), Claim::of_process(::getpid(), slot)); !s) return s.error();
        return first;
    }
    return base::error(base::errc::limit, "all " + std::to_string(kRanges) + " ranges of user ids are taken");
}

base::Status IdRanges::hand_over(std::uint32_t first, std::string const& slot, pid_t pid) const {
    auto const held = lock(directory_);
    if (!held) return held.error();
    if (read_claim(link(first)).slot != slot)
        return base::error(base::errc::stale, "the user ids of " + slot + " have been given to another sandbox");
    return write_claim(directory_, link(first), Claim::of_process(pid, slot));
}

void IdRanges::give_back(std::uint32_t first, std::string const& slot) const {
    auto const held = lock(directory_);
    if (held && read_claim(link(first)).slot == slot) (void)base::sys::unlink(link(first));
}

std::uint32_t IdRanges::of(std::string const& slot) const {
    std::uint32_t found = 0;
    for_each_claim(directory_, [&](std::uint32_t first, Claim const& claim) {
        if (claim.slot == slot) found = first;
        return found != 0;
    });
    return found;
}

std::vector<std::string> IdRanges::holders(std::string const& slots) const {
    std::vector<std::string> out;
    for_each_claim(directory_, [&](std::uint32_t, Claim const& claim) {
        std::filesystem::path const slot = claim.slot;
        if (slot.parent_path() == slots) out.push_back(slot.filename());
        return false;
    });
    return out;
}

}  // namespace sandbox::native
