#pragma once
#include <string>
#include <string_view>

namespace host {

/// Somebody else's words in one line of the operator's terminal: control characters, and those that turn the direction of
/// what stands beside them, are '?'. So nothing is drawn over, and no line is forged.
std::string plain(std::string_view text);

/// The same for text of several lines: those and tabs stay.
std::string plain_lines(std::string_view text);

/// With spaces behind it up to `width` bytes, for columns.
std::string padded(std::string text, std::size_t width);

/// From here on what is logged is one plain line each: reasons hold words of servers and of what runs in workspaces.
void log_plainly();

}  // namespace host
