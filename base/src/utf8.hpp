#pragma once
#include <cstddef>
#include <string_view>

namespace base {

/// The bytes at the front that are ASCII.
std::size_t ascii_run(std::string_view);

/// The length of the UTF-8 sequence at the front of `s`, which is not empty: 1 to 4, or 0 when it is malformed (Unicode 15, table 3-7).
std::size_t sequence_length(std::string_view s);

}  // namespace base
