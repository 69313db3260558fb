#pragma once
#include <sandbox/image.hpp>

#include <chrono>
#include <string>

namespace sandbox {

/// Splits the time since its making into phases.
class Stopwatch {
  public:
    explicit Stopwatch(Phases& phases) : phases_(phases), last_(base::Clock::now()) {}
    void lap(std::string name) {
        auto const now = base::Clock::now();
        phases_.push_back({std::move(name), std::chrono::duration<double, std::milli>(now - last_).count()});
        last_ = now;
    }
    void skip() { last_ = base::Clock::now(); }  ///< someone else accounted for the time until now

  private:
    Phases& phases_;
    base::Clock::time_point last_;
};

}  // namespace sandbox
