#pragma once
#include <string_view>

namespace config {

/// How many letters to add, drop or change between a written key and a known one (Levenshtein), for "did you mean". Reads
/// the first 100 bytes of each: the time is their product.
std::size_t distance(std::string_view a, std::string_view b);

}  // namespace config
