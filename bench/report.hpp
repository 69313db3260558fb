#pragma once
#include "stats.hpp"
#include <base/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace bench {

/// One line of the result: a thing measured, and beside it at most one other thing measured in the same run.
struct Entry {
    std::string row;   ///< the name that --only takes, or that name with a suffix
    std::string what;  ///< for people
    std::string unit;  ///< "ms", "calls/s", "MiB", "%", "s", "1"
    std::size_t n = 0;
    double p50 = 0, p95 = 0, p99 = 0;
    std::string beside;                       ///< "" when there is nothing to compare with
    std::optional<double> beside_p50, ratio;  ///< ratio = p50 / beside_p50
    std::string promise;                      ///< "" when this line promises nothing
    std::optional<bool> met;
};

/// Collects lines and shows them.
class Report {
  public:
    /// The entry stays valid until the next call; its caller may add a promise.
    Entry& add(std::string row, std::string what, std::string unit, Samples const&);
    Entry& add(std::string row, std::string what, std::string unit, Samples const&, std::string beside,
               Samples const& other);
    /// A remark under the table: warm-up, what was not counted.
    void note(std::string line) { notes_.push_back(std::move(line)); }

    void print_table() const;
    base::Json json() const;
    bool empty() const { return entries_.empty(); }

  private:
    std::vector<Entry> entries_;
    std::vector<std::string> notes_;
};

/// Sets the promise and whether the run keeps it.
void promise(Entry&, std::string text, bool met);

}  // namespace bench
