#include "local_ports.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace guest {
namespace {

constexpr std::int64_t kPerDial = 8;    // ports for each connection that a time awake made so far
constexpr char const* kRange = "/proc/sys/net/ipv4/ip_local_port_range";

// Connections dialled in this network since it began, -1 where the kernel does not say.
std::int64_t connections_opened() {
    std::ifstream file("/proc/net/snmp");
    for (std::string names, values; std::getline(file, names) && std::getline(file, values);) {
        std::istringstream name(names), value(values);
        std::string n, v;
        while (name >> n && value >> v)
            if (n == "ActiveOpens" && names.starts_with("Tcp:")) return std::strtoll(v.c_str(), nullptr, 10);
    }
    return -1;
}

void write_range(int fd, PortRange const& part) {
    auto const wanted = std::to_string(part.low) + " " + std::to_string(part.high);
    (void)!::pwrite(fd, wanted.data(), wanted.size(), 0);
}

}  // namespace

PortRange LocalPorts::take() {
    std::int64_t const parts = 1 + matter_;
    auto const count = static_cast<int>(std::min<std::int64_t>(
        kWide, std::max({std::int64_t(kNarrow), kPerDial * std::min<std::int64_t>(most_, kWide), kWide / (parts * parts)})));
    if (cursor_ + count > kAll.high + 1) cursor_ = kAll.low;
    return part_ = {cursor_, cursor_ + count - 1};
}

PortRange LocalPorts::next(std::int64_t now_ms, std::int64_t dialed) {
    if (since_ms_ >= 0) {
        if (rested_ms_ - since_ms_ >= kTimeWaitMs) matter_ = 0, most_ = 0;
        if (dialed > 0) {
            ++matter_;
            most_ = std::max(most_, dialed);
            cursor_ = part_.high + 1;
        }
    }
    since_ms_ = now_ms;
    return take();
}

PortRange LocalPorts::settled() {
    matter_ = 0, most_ = 0;
    return take();
}

bool LocalPorts::ours(int fd) const {
    char text[64] = {};
    PortRange shown;
    return ::pread(fd, text, sizeof text - 1, 0) > 0 && std::sscanf(text, "%d %d", &shown.low, &shown.high) == 2 &&
           (shown == kAll || shown == part_);
}

bool LocalPorts::apply(std::int64_t now_ms) {
    int const fd = ::open(kRange, O_RDWR | O_CLOEXEC);
    if (fd < 0) return false;
    bool narrow = false;
    if (ours(fd)) {
        write_range(fd, next(now_ms, dialed_));
        opened_ = connections_opened();
        dialed_ = 1;
        narrow = part_.size() < kWide;
    }
    ::close(fd);
    return narrow;
}

void LocalPorts::rest(std::int64_t now_ms) {
    resting(now_ms);
    auto const opened = connections_opened();
    dialed_ = opened < 0 || opened_ < 0 ? 1 : opened - opened_;
}

void LocalPorts::settle() {
    int const fd = ::open(kRange, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (ours(fd)) write_range(fd, settled());
    ::close(fd);
}

}  // namespace guest
