#include "local_ports.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace guest {
namespace {

constexpr std::int64_t kTimeWaitMs = 61'000;
constexpr int kFirstPart = 4;      // of the range, for who has not slept yet
constexpr int kSmallest = 256;     // ports; enough for a minute of sleeps and wakes, one after the other
constexpr char const* kRange = "/proc/sys/net/ipv4/ip_local_port_range";

}  // namespace

PortRange LocalPorts::next(std::int64_t now_ms) {
    if (since_ms_ >= 0) awake_.push_back(std::max<std::int64_t>(rested_ms_ >= since_ms_ ? rested_ms_ - since_ms_ : 0, 0));
    since_ms_ = now_ms;
    // The last time awake matters always; one before it, when those after it were short.
    std::int64_t after = 0;
    int matter = 0;
    for (auto it = awake_.rbegin(); it != awake_.rend() && after < kTimeWaitMs; ++it, ++matter) after += *it;
    while (static_cast<int>(awake_.size()) > matter) awake_.pop_front();
    constexpr int kCount = kAll.high + 1 - kAll.low;
    int const count = std::max(kSmallest, kCount / (kFirstPart * (1 + matter)));
    if (cursor_ + count > kAll.high + 1) cursor_ = kAll.low;
    PortRange const part{cursor_, cursor_ + count - 1};
    cursor_ += count;
    return part;
}

void LocalPorts::apply(std::int64_t now_ms) {
    int const fd = ::open(kRange, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    char text[64] = {};
    PortRange shown;
    if (::read(fd, text, sizeof text - 1) > 0 && std::sscanf(text, "%d %d", &shown.low, &shown.high) == 2 &&
        (shown == kAll || shown == ours_)) {
        auto const part = next(now_ms);
        auto const wanted = std::to_string(part.low) + " " + std::to_string(part.high);
        if (::pwrite(fd, wanted.data(), wanted.size(), 0) > 0) ours_ = part;
    }
    ::close(fd);
}

}  // namespace guest
