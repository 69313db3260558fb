#pragma once
#include <cstdint>

namespace guest {

struct PortRange {
    int low = 0, high = 0;      ///< both included
    bool operator==(PortRange const&) const = default;
    int size() const { return high - low + 1; }
};

/// Where programs that dial get their ports from: after each restore that followed connections from another part of the
/// range, so that none is used again while it matters.
///
/// gVisor keys its initial sequence numbers anew at a restore, and starts the minute of each connection in TIME_WAIT anew.
/// A connection from a port that one was closed from earlier may therefore begin below the old one's numbers, and the
/// listener's side drops it until the old one has had its minute without a sleep. So what was dialled from since the last
/// such minute is left alone, as long as the range has room: parts get smaller the more of them there are, for about a
/// thousand short times awake; then the oldest come round again.
/// Milliseconds are of a clock that only grows.
class LocalPorts {
  public:
    static constexpr PortRange kAll{16'000, 65'535};      // gVisor's own
    static constexpr int kWide = 10'240, kNarrow = 32;    // the largest part and the smallest
    static constexpr std::int64_t kTimeWaitMs = 61'000;

    /// The part until the next sleep. `dialed`: connections made from the one before it; 0 keeps its ports.
    PortRange next(std::int64_t now_ms, std::int64_t dialed);
    /// A sleep may follow, or not.
    void resting(std::int64_t now_ms) { rested_ms_ = now_ms; }
    /// Awake for kTimeWaitMs: a wide part, which begins where the present one does.
    PortRange settled();

    /// The same with the kernel, which takes the part and counts what is dialled; not where somebody else chose the range,
    /// or the kernel is the machine's. `apply` returns whether `settle` is wanted after kTimeWaitMs awake.
    bool apply(std::int64_t now_ms);
    void rest(std::int64_t now_ms);
    void settle();

  private:
    PortRange take();
    bool ours(int fd) const;

    std::int64_t since_ms_ = -1, rested_ms_ = -1;
    std::int64_t opened_ = -1;      // the kernel's count of connections dialled, at the last `apply`
    std::int64_t dialed_ = 1;       // since then, at the last `rest`
    std::int64_t most_ = 0;         // dialled from one of the parts that matter
    int matter_ = 0;                // parts dialled from since a minute without a sleep
    int cursor_ = kAll.low;
    PortRange part_ = kAll;
};

}  // namespace guest
