#include "text.hpp"

#include <base/hash.hpp>
#include <base/json.hpp>
#include <workspace/files.hpp>

#include <algorithm>
#include <cstring>

namespace workspace::text {

bool is_binary(std::string_view bytes) { return bytes.substr(0, kBinaryProbe).find('\0') != bytes.npos; }

std::string_view take_line(std::string_view& rest) {
    auto const end = rest.find('\n');
    auto const line = rest.substr(0, end == rest.npos ? rest.npos : end + 1);
    rest.remove_prefix(line.size());
    return line;
}

std::vector<std::string_view> split_lines(std::string_view text, std::size_t max) {
    std::vector<std::string_view> lines;
    while (!text.empty() && lines.size() < max) lines.push_back(take_line(text));
    return lines;
}

std::string_view without_newline(std::string_view line) {
    if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    return line;
}

std::uint64_t count_lines(std::string_view text) {
    auto const newlines = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
    return newlines + (!text.empty() && text.back() != '\n');
}

std::string shown(std::string_view bytes, std::size_t max) {
    // Replacement triples a bad byte at most, so this much input fills the answer.
    auto out = base::to_utf8(bytes.substr(0, max + 4));
    if (out.size() <= max) return out;
    std::size_t end = max;
    while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;
    out.resize(end);
    return out;
}

std::size_t find(std::string_view haystack, std::string_view needle, std::size_t from) {
    if (from > haystack.size()) return haystack.npos;
    void const* hit = ::memmem(haystack.data() + from, haystack.size() - from, needle.data(), needle.size());
    return hit ? static_cast<std::size_t>(static_cast<char const*>(hit) - haystack.data()) : haystack.npos;
}

base::Result<std::string> read_whole(base::Beneath const& root, std::string const& path) {
    auto bytes = root.read(path, kMaxFileBytes);
    if (!bytes && base::is(bytes.error(), base::errc::limit))
        return base::error(
            base::errc::limit,
            path + " is larger than " + std::to_string(kMaxFileBytes >> 20) +
                " MiB, the most that file tools handle; use run_command (sed -n, head, grep) instead");
    return bytes;
}

base::Status expect_sha256(std::string const& path, std::string const* current, std::string const& wanted) {
    if (!current) {
        if (wanted.empty()) return {};
        return base::error(base::errc::stale, path + " does not exist, but if_sha256 expects content");
    }
    auto const now = base::sha256_hex(*current);
    if (now == wanted) return {};
    if (wanted.empty()) return base::error(base::errc::stale, path + " exists already, with sha256 " + now);
    return base::error(base::errc::stale,
                       path + " changed since it was read: its sha256 is now " + now + "; read it again");
}

}  // namespace workspace::text
