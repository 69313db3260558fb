#pragma once
#include <base/result.hpp>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <string_view>

namespace base {

using Json = nlohmann::json;

/// What one document may take, checked while it is read.
struct JsonLimits {
    std::size_t max_bytes = 8 << 20;    // a 5 MiB file as base64 with its envelope fits
    int max_depth = 64;                 // deeper than any schema met in MCP servers' tool lists
};

/// Strict parse of one document: UTF-8, no duplicate keys at any level, no trailing bytes, within the limits, which are
/// checked while reading. Errors: errc::limit (size, depth) or errc::invalid, with the byte offset in the context.
Result<Json> parse_json(std::string_view text, JsonLimits limits = {});

/// Compact text. Invalid UTF-8 that reached a value (never from parse_json) is replaced by U+FFFD, not thrown.
std::string dump(Json const&);

/// True when the bytes are well-formed UTF-8.
bool valid_utf8(std::string_view);
/// The bytes with everything that is not UTF-8 replaced by U+FFFD.
std::string to_utf8(std::string_view);

}  // namespace base
