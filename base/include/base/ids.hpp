#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace base {

/// `bytes` from the kernel's generator.
std::string random_bytes(std::size_t bytes);
/// `bytes` random bytes in lower-case base32 (a-z, 2-7): safe in host names, paths and cgroup names. 16 bytes, which
/// nobody guesses (128 bits), give 26 characters.
std::string random_id(std::size_t bytes = 16);
/// Takes the same time wherever the first difference stands. Different lengths are unequal at once.
bool constant_time_equal(std::string_view a, std::string_view b);

/// A secret that no log line or document shows by accident: it converts to nothing, and must be revealed by name.
class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string value) : value_(std::move(value)) {}
    std::string const& reveal() const { return value_; }
    bool matches(std::string_view presented) const { return constant_time_equal(value_, presented); }

  private:
    std::string value_;
};

}  // namespace base
