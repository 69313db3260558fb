#pragma once
#include <cstdint>
#include <deque>

namespace guest {

struct PortRange {
    int low = 0, high = 0;      ///< both included
    bool operator==(PortRange const&) const = default;
};

/// Where programs that dial get their ports from: at the start and after each restore from another part of the range, so that
/// none is used again while it matters. gVisor keys its initial sequence numbers anew at a restore, so a connection between two
/// ports that one was closed between shortly before may start below the old one's numbers, and a listener drops it while the
/// old one is in TIME_WAIT. That is a minute of the time awake. Sandboxes that sleep more often get smaller parts.
/// Milliseconds are of a clock that only grows.
class LocalPorts {
  public:
    static constexpr PortRange kAll{16'000, 65'535};      // gVisor's own

    /// The part until the next sleep.
    PortRange next(std::int64_t now_ms);
    /// A sleep may follow, or not.
    void resting(std::int64_t now_ms) { rested_ms_ = now_ms; }

    /// Has the kernel take `next`; but not where somebody else chose the range, or the kernel is the machine's.
    void apply(std::int64_t now_ms);

  private:
    std::deque<std::int64_t> awake_;      // how long each time was, the newest last; as many as matter
    std::int64_t since_ms_ = -1, rested_ms_ = -1;
    int cursor_ = kAll.low;
    PortRange ours_ = kAll;
};

}  // namespace guest
