#include "output_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace guest {
namespace {

constexpr std::size_t kRing = 1 << 20;
constexpr std::size_t kHead = 64 * 1024;
constexpr std::uint64_t kSpoolCap = 256ull << 20;
std::string const kNoPath;

void make_parents(std::string const& path) {
    for (std::size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1))
        ::mkdir(path.substr(0, slash).c_str(), 0755);
}

}  // namespace

OutputLog::~OutputLog() { close_spool(); }

void OutputLog::append(std::string_view bytes) {
    if (bytes.empty()) return;
    if (total_ + bytes.size() > kRing && spool_ == Spool::none) {
        head_ = from_ring(0, kHead);
        if (head_.size() < kHead) head_.append(bytes.substr(0, kHead - head_.size()));
        start_spool();
    }
    write_spool(bytes);
    for (auto rest = bytes; !rest.empty();) {
        std::size_t const at = total_ % kRing;
        auto const part = rest.substr(0, kRing - at);
        if (ring_.size() == at && ring_.size() < kRing) {
            ring_.append(part);
        } else {
            if (ring_.size() < kRing) ring_.resize(kRing);   // written again after its memory was released
            part.copy(ring_.data() + at, part.size());
        }
        total_ += part.size();
        rest.remove_prefix(part.size());
    }
    if (total_ - ring_first_ > kRing) ring_first_ = total_ - kRing;
}

void OutputLog::start_spool() {
    make_parents(path_);
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    spool_ = fd_ >= 0 ? Spool::open : Spool::ended;
    auto const kept = from_ring(0, kRing);
    write_spool(kept);
}

void OutputLog::write_spool(std::string_view bytes) {
    if (spool_ == Spool::closed) {
        fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
        spool_ = fd_ >= 0 ? Spool::open : Spool::ended;
    }
    while (spool_ == Spool::open && !bytes.empty()) {
        auto const part = bytes.substr(0, kSpoolCap - spooled_);
        ssize_t const n = part.empty() ? -1 : ::write(fd_, part.data(), part.size());
        if (n < 0 && !part.empty() && errno == EINTR) continue;
        if (n <= 0) {                                        // at the cap, or the volume is full
            close_spool();
            spool_ = Spool::ended;
            return;
        }
        spooled_ += static_cast<std::size_t>(n);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::string OutputLog::from_ring(std::uint64_t offset, std::size_t max) const {
    std::string out;
    std::size_t left = static_cast<std::size_t>(std::min<std::uint64_t>(max, total_ - offset));
    out.reserve(left);
    while (left > 0) {
        std::size_t const at = offset % kRing;
        std::size_t const n = std::min(left, kRing - at);
        out.append(ring_, at, n);
        offset += n;
        left -= n;
    }
    return out;
}

std::string OutputLog::read(std::uint64_t& offset, std::size_t max) const {
    offset = std::min(offset, total_);
    if (offset >= ring_first_) return from_ring(offset, max);
    if (offset < spooled_) {
        int const fd = ::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            std::string out(static_cast<std::size_t>(std::min<std::uint64_t>(max, spooled_ - offset)), '\0');
            ssize_t const n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
            ::close(fd);
            if (n > 0) {
                out.resize(static_cast<std::size_t>(n));
                return out;
            }
        }
    }
    if (offset < head_.size()) return head_.substr(static_cast<std::size_t>(offset), max);
    offset = ring_first_;
    return from_ring(offset, max);
}

std::string const& OutputLog::spool_path() const { return spooled_ > 0 ? path_ : kNoPath; }

void OutputLog::release_memory() {
    if (ring_.empty()) return;
    if (spool_ == Spool::none) {
        head_ = from_ring(0, kHead);
        start_spool();
        close_spool();
    }
    // What did not fit into the file stays: the end of a log is what users look for.
    if (spooled_ < total_) return;
    std::string().swap(ring_);
    std::string().swap(head_);
    ring_first_ = total_;
}

void OutputLog::close_spool() {
    if (fd_ < 0) return;
    ::close(std::exchange(fd_, -1));
    spool_ = Spool::closed;
}

void OutputLog::remove_spool() {
    close_spool();
    if (spooled_ > 0) ::unlink(path_.c_str());
    spool_ = Spool::ended;
    spooled_ = 0;
}

}  // namespace guest
