#include "text.hpp"
#include <base/hash.hpp>
#include <base/json.hpp>
#include <workspace/files.hpp>

namespace workspace {
namespace {

constexpr std::uint64_t kPageLines = 2000;

using base::errc;
using base::error;

std::string cut_line(std::string_view line, std::size_t room) {
    constexpr std::size_t kNote = 100;
    auto out = text::shown(line, room > kNote ? room - kNote : 0);
    return out + " [line cut: it has " + std::to_string(line.size()) +
           " bytes; use run_command for the rest]\n";
}

}  // namespace

std::string image_type_of(std::string_view bytes) {
    using namespace std::string_view_literals;
    if (bytes.starts_with("\x89PNG\r\n\x1a\n"sv)) return "image/png";
    if (bytes.starts_with("\xff\xd8\xff"sv)) return "image/jpeg";
    if (bytes.starts_with("GIF87a"sv) || bytes.starts_with("GIF89a"sv)) return "image/gif";
    if (bytes.starts_with("RIFF"sv) && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP"sv)
        return "image/webp";
    return "";
}

base::Result<FileText> present_text(std::string const& path, std::string bytes, std::uint64_t offset,
                                    std::uint64_t limit) {
    FileText out;
    out.bytes = bytes.size();
    out.sha256 = base::sha256_hex(bytes);
    if (auto type = image_type_of(bytes); !type.empty()) {
        if (bytes.size() <= kMaxImageBytes) {
            out.image_type = std::move(type);
            out.image = std::move(bytes);
            return out;
        }
        out.binary = true;
        out.text = path + " is " + type + " of " + std::to_string(out.bytes) + " bytes, too large to show";
        return out;
    }
    if (text::is_binary(bytes)) {
        out.binary = true;
        out.text = path + " is a binary file of " + std::to_string(out.bytes) + " bytes";
        return out;
    }

    out.total_lines = text::count_lines(bytes);
    out.first_line = offset == 0 ? 1 : offset;
    if (out.first_line > out.total_lines && offset > 1)
        return error(errc::invalid, path + " has " + std::to_string(out.total_lines) + " lines; offset " +
                                        std::to_string(offset) + " is past its end");
    bool const exact = limit != 0;
    std::uint64_t const most = exact ? limit : kPageLines;
    std::string_view rest = bytes;
    for (std::uint64_t skipped = 1; skipped < out.first_line; ++skipped) text::take_line(rest);
    while (!rest.empty() && out.lines < most) {
        auto const line = text::take_line(rest);
        auto const number = std::to_string(out.first_line + out.lines) + '\t';
        auto const room = kMaxTextBytes - out.text.size();
        // Replaced bytes grow, so what fits is known only afterwards; a line that is too long as it is is not
        // converted.
        auto shown = line.size() > kMaxTextBytes ? std::string() : base::to_utf8(line);
        bool const fits = line.size() <= kMaxTextBytes && number.size() + shown.size() <= room;
        if (!fits && exact)
            return error(errc::limit,
                         "lines " + std::to_string(out.first_line) + " to " +
                             std::to_string(std::min(out.first_line + limit - 1, out.total_lines)) + " of " +
                             path + " are more than " + std::to_string(kMaxTextBytes) +
                             " bytes; ask for fewer lines, or leave limit out to read page by page");
        if (!fits && out.lines > 0) break;
        if (!fits) shown = cut_line(text::without_newline(line), room - number.size());
        out.text += number;
        out.text += shown;
        ++out.lines;
        if (!fits) break;
    }
    if (out.first_line + out.lines <= out.total_lines) out.next_offset = out.first_line + out.lines;
    return out;
}

base::Result<FileText> read_text(base::Beneath const& root, std::string const& path, std::uint64_t offset,
                                 std::uint64_t limit) {
    auto bytes = text::read_whole(root, path);
    if (!bytes) return bytes.error();
    return present_text(path, std::move(*bytes), offset, limit);
}

}  // namespace workspace
