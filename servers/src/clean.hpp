#pragma once
#include <base/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace servers {

/// Text without what a reader cannot see: control characters but newline and tab, zero-width and
/// bidirectional marks, tags, private use and unassigned planes. `removed` counts them.
std::string visible_text(std::string_view text, std::size_t& removed);

/// Every string in `value`, keys included, made visible. Returns how many characters went.
std::size_t make_visible(base::Json& value);

/// Phrases in a description that speak to the model rather than about the tool. For a warning, never for a
/// decision.
std::vector<std::string> suspicious_phrases(std::string_view text);

}  // namespace servers
