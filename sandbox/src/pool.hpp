#pragma once
#include <base/asio.hpp>
#include <sandbox/sandboxes.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

// When to boot what. Decisions only: no timer, no process, no clock of its own.
namespace sandbox::pool {

using TimePoint = base::Clock::time_point;

/// What there is of one template.
struct Shelf {
    PoolTarget target;
    int awake = 0, frozen = 0;                   ///< in stock
    int booting = 0;
    int waiting = 0;                             ///< claims that found it empty
    int failures = 0;                            ///< boots in a row
    TimePoint retry_at{};                        ///< after a failed boot
    int blank = 0, making = 0;                   ///< for restores: in stock, and on their way there
    TimePoint bare_since{};                      ///< when the last blank was taken
};

struct Situation {
    TimePoint now, last_claim;
    bool filling = false;
    int max_boots = 2;
    int room = 0;                                ///< sandboxes that may still be made
};

struct Step {
    std::vector<std::size_t> boots;              ///< shelves that start one more each, in this order
    std::vector<std::size_t> blanks;             ///< shelves that make one more blank each
    std::optional<TimePoint> look_again;         ///< when something changes by itself
};

/// Claims that wait come first, without delay. Filling leaves claims alone: it starts a little after the last one, unless the
/// stock is at half or below.
Step decide(std::vector<Shelf> const& shelves, Situation const& s);

/// Doubles from half a second to a minute; `jitter` in [0, 1) spreads it by a quarter either way.
base::milliseconds back_off(int failures, double jitter);

inline constexpr base::milliseconds kQuiet{250};    // in which the first commands of a new workspace run
inline constexpr base::milliseconds kBare{1'000};   // claims that never pause put the next blank off for no longer, once none is left

}  // namespace sandbox::pool
