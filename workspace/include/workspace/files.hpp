#pragma once
#include <base/beneath.hpp>
#include <base/json.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// The file tools' work on one volume, free of MCP. All calls block; callers run them on the blocking pool. Paths are relative to the
// volume's workspace directory and stay beneath it, whatever is linked or renamed inside. Errors are base::errc with a sentence for the caller.
namespace workspace {

inline constexpr std::size_t kMaxFileBytes = 32 << 20;        // read, write and edit through tools; more goes by transfer URL
inline constexpr std::size_t kMaxTextBytes = 48'000;          // of one read_file answer, about 12,000 tokens
inline constexpr std::size_t kMaxImageBytes = 4 << 20;

struct FileText {
    std::string text;                  ///< lines `offset`..., each with its number and a tab; invalid UTF-8 replaced
    std::uint64_t total_lines = 0, first_line = 0, lines = 0;
    std::optional<std::uint64_t> next_offset;
    std::uint64_t bytes = 0;
    std::string sha256;
    bool binary = false;               ///< NUL bytes inside: text is a one-line summary
    std::string image_type;            ///< "image/png" ..., then `image` holds the bytes
    std::string image;
};
/// `offset` is a 1-based line (0 = unset), `limit` in lines (0 = unset, 2000). Without an explicit range a long file gives its first page and
/// next_offset; an explicit range over kMaxTextBytes is errc::limit, because a cut answer to an exact question costs more than asking again.
base::Result<FileText> read_text(base::Beneath const& root, std::string const& path, std::uint64_t offset, std::uint64_t limit);
/// The same over bytes that were read some other way (through the guest).
base::Result<FileText> present_text(std::string const& path, std::string bytes, std::uint64_t offset, std::uint64_t limit);

/// By magic number, because names lie. "" when it is none that clients display.
std::string image_type_of(std::string_view bytes);

struct Written {
    std::string sha256;                ///< of the whole file now
    std::uint64_t bytes = 0;
    bool created = false;
};
enum class WriteMode { overwrite, append };
/// Durable on return. With `if_sha256`, errc::stale unless the file has it ("" = must not exist); the message carries the current one.
base::Result<Written> write_file(base::Beneath const& root, std::string const& path, std::string const& content, WriteMode mode,
                                 std::optional<std::string> const& if_sha256);

struct Edit {
    std::string old_string, new_string;
    bool replace_all = false;
};
struct Edited {
    std::string sha256, diff;          ///< unified diff, at most 8,000 characters
    int replacements = 0;
};
/// All edits in order, or none. errc::not_found: an old_string is missing; the message names which edit and shows the nearest lines with
/// their numbers and what differs. errc::invalid: it occurs more than once without replace_all (lines are listed), empty, or equal to new_string.
/// `shown` is what the diff calls the file; "" = `path`.
base::Result<Edited> edit_file(base::Beneath const& root, std::string const& path, std::vector<Edit> const& edits,
                               std::optional<std::string> const& if_sha256, std::string const& shown = "");
/// The pure part.
base::Result<std::string> apply_edits(std::string text, std::vector<Edit> const& edits, int& replacements);
std::string unified_diff(std::string const& path, std::string_view before, std::string_view after, std::size_t max_characters);

struct Match {
    std::string path;
    std::uint64_t line = 0;            ///< 0: the file itself matched the glob and no regex was given
    std::string text;                  ///< at most 300 characters
};
struct Found {
    std::vector<Match> matches;
    bool truncated = false;
    std::uint64_t files_searched = 0;
};
struct SearchQuery {
    std::string path = ".";
    std::string glob;                  ///< "*.py" matches the name, "src/**/x.py" the path; "" = all
    std::string regex;                 ///< RE2-like subset by std::regex is too slow and can blow the stack: see search.cpp; "" = list files
    bool ignore_case = false;
    std::size_t limit = 100;
};
/// Skips .git, node_modules and binary files unless `path` or `glob` names them. Bounded in time (5 s), bytes a file and matches.
/// errc::invalid for a bad pattern, with the place.
base::Result<Found> search(base::Beneath const& root, SearchQuery const& query);

}  // namespace workspace
