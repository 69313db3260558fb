#pragma once
#include <string>
#include <string_view>

namespace workspace {

/// What to tell a caller whose `wanted` text is not in `text`: the nearest lines with their numbers, and what
/// differs. Looks at the first MiB of `text` and the first 50 lines of `wanted`, so its work is bounded.
std::string describe_near_miss(std::string_view text, std::string_view wanted);

}  // namespace workspace
