#pragma once
#include <chrono>
#include <cstddef>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

/// Every measurement of one thing, in the row's unit. Percentiles come from all of them, by nearest rank.
class Samples {
  public:
    void add(double value) { values_.push_back(value); }
    void add(Clock::duration d) { add(std::chrono::duration<double, std::milli>(d).count()); }
    std::size_t count() const { return values_.size(); }
    /// `share` in (0, 1]; 0 when there are no samples.
    double percentile(double share) const;
    double p50() const { return percentile(0.50); }
    double p95() const { return percentile(0.95); }
    double p99() const { return percentile(0.99); }

  private:
    std::vector<double> values_;
};

}  // namespace bench
