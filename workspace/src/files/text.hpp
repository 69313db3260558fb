#pragma once
#include <base/beneath.hpp>
#include <base/result.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

// What the file functions share about text: lines, sizes, and how bytes of a file are shown.
namespace workspace::text {

inline constexpr std::size_t kBinaryProbe = 8192;

/// A NUL in the first 8 KiB, which is git's test too.
bool is_binary(std::string_view bytes);

/// Takes the next line off `rest`, with its newline when it has one.
std::string_view take_line(std::string_view& rest);
/// The first `max` lines, with their newlines.
std::vector<std::string_view> split_lines(std::string_view text, std::size_t max);
std::string_view without_newline(std::string_view line);  ///< drops "\n"; a "\r" stays
std::uint64_t count_lines(std::string_view text);         ///< a last line without newline counts

/// At most `max` bytes of valid UTF-8, cut between characters.
std::string shown(std::string_view bytes, std::size_t max);

/// glibc's two-way search: linear in the worst case, which std::string::find is not. npos when absent.
std::size_t find(std::string_view haystack, std::string_view needle, std::size_t from);

/// The whole file within kMaxFileBytes; beyond, errc::limit with what to do instead.
base::Result<std::string> read_whole(base::Beneath const& root, std::string const& path);
/// errc::stale unless the content has `wanted`; "" wants no file. nullptr is no file.
base::Status expect_sha256(std::string const& path, std::string const* current, std::string const& wanted);

}  // namespace workspace::text
