#pragma once
#include <chrono>
#include <cstddef>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

inline double milliseconds_of(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

/// Every measurement of one thing, in the row's unit. Percentiles come from all of them, by nearest rank.
class Samples {
  public:
    void add(double value) { values_.push_back(value); }
    void add(Clock::duration d) { add(milliseconds_of(d)); }
    void add(Samples const& others) { values_.insert(values_.end(), others.values_.begin(), others.values_.end()); }
    std::size_t count() const { return values_.size(); }
    /// `share` in (0, 1]; 0 when there are no samples.
    double percentile(double share) const;
    double p50() const { return percentile(0.50); }
    double p95() const { return percentile(0.95); }
    double p99() const { return percentile(0.99); }
    std::vector<double> const& values() const { return values_; }

  private:
    std::vector<double> values_;
};

}  // namespace bench
