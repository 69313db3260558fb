#include "near_miss.hpp"
#include "text.hpp"
#include <base/hash.hpp>
#include <workspace/files.hpp>

#include <algorithm>

namespace workspace {
namespace {

using base::errc;
using base::error;

constexpr std::size_t kMaxDiff = 8000;
constexpr int kMaxListed = 20;

struct Occurrences {
    std::vector<std::uint64_t> lines;  // the first kMaxListed + 1
};

// Overlapping ones count, because either could be meant.
Occurrences occurrences(std::string_view text, std::string_view wanted) {
    Occurrences out;
    std::uint64_t line = 1;
    std::size_t counted = 0;
    for (auto at = text::find(text, wanted, 0); at != text.npos && out.lines.size() <= kMaxListed;
         at = text::find(text, wanted, at + 1)) {
        line += static_cast<std::uint64_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(counted),
                                                      text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
        counted = at;
        out.lines.push_back(line);
    }
    return out;
}

std::string ambiguous(std::string const& which, Occurrences const& found) {
    bool const more = found.lines.size() > kMaxListed;
    std::string out =
        which + "old_string occurs " +
        (more ? "more than " + std::to_string(kMaxListed) : std::to_string(found.lines.size())) +
        " times, on lines ";
    for (std::size_t i = 0; i < found.lines.size() && i < kMaxListed; ++i)
        out += (i ? ", " : "") + std::to_string(found.lines[i]);
    return out + (more ? ", ..." : "") + "; add lines around it until it is unique, or set replace_all";
}

base::Status apply(std::string& text, Edit const& edit, std::string const& which, int& replacements) {
    if (edit.old_string.empty())
        return error(errc::invalid, which + "old_string is empty; use write_file to create or append");
    if (edit.old_string == edit.new_string)
        return error(errc::invalid, which + "old_string and new_string are equal");
    auto at = text::find(text, edit.old_string, 0);
    if (at == text.npos)
        return error(errc::not_found,
                     which + "old_string is not in the file; " + describe_near_miss(text, edit.old_string));
    if (!edit.replace_all)
        if (auto const found = occurrences(text, edit.old_string); found.lines.size() > 1)
            return error(errc::invalid, ambiguous(which, found));

    std::string out;
    std::size_t copied = 0;
    for (; at != text.npos; at = text::find(text, edit.old_string, copied)) {
        out.append(text, copied, at - copied);
        out += edit.new_string;
        copied = at + edit.old_string.size();
        ++replacements;
        if (out.size() > kMaxFileBytes)
            return error(errc::limit, which + "the file would be larger than " +
                                          std::to_string(kMaxFileBytes >> 20) + " MiB");
    }
    out.append(text, copied);
    if (out.size() > kMaxFileBytes)
        return error(errc::limit,
                     which + "the file would be larger than " + std::to_string(kMaxFileBytes >> 20) + " MiB");
    text = std::move(out);
    return {};
}

}  // namespace

base::Result<std::string> apply_edits(std::string text, std::vector<Edit> const& edits, int& replacements) {
    replacements = 0;
    if (edits.empty()) return error(errc::invalid, "there are no edits");
    for (std::size_t i = 0; i < edits.size(); ++i) {
        auto const which = edits.size() == 1 ? std::string()
                                             : "edit " + std::to_string(i + 1) + " of " +
                                                   std::to_string(edits.size()) + ": ";
        if (auto ok = apply(text, edits[i], which, replacements); !ok) {
            replacements = 0;
            auto e = ok.error();
            if (edits.size() > 1)
                e.context += (e.context.ends_with('\n') ? "" : ". ") + std::string("No edit was made.");
            return e;
        }
    }
    return text;
}

base::Result<Edited> edit_file(base::Beneath const& root, std::string const& path,
                               std::vector<Edit> const& edits, std::optional<std::string> const& if_sha256,
                               std::string const& shown) {
    auto before = text::read_whole(root, path);
    if (!before) return before.error();
    if (if_sha256)
        if (auto ok = text::expect_sha256(path, &*before, *if_sha256); !ok) return ok.error();
    if (text::is_binary(*before))
        return error(errc::invalid, path + " is a binary file, which cannot be edited as text");

    Edited out;
    auto after = apply_edits(*before, edits, out.replacements);
    if (!after) return base::wrap(after.error(), path);
    // A program inside may have written meanwhile. What it writes between this look and the rename is lost,
    // as with any editor.
    auto const now = root.read(path, kMaxFileBytes);
    if (!now || *now != *before)
        return error(errc::stale, path + " changed while it was edited; read it again");
    if (auto ok = root.replace(path, *after); !ok) {
        auto e = ok.error();
        if (e.code == boost::system::error_code(ENOSPC, boost::system::system_category()))
            e.context = path + " was not edited: the workspace's disk is full; delete files and try again (" +
                        e.context + ")";
        return e;
    }
    out.sha256 = base::sha256_hex(*after);
    out.diff = unified_diff(shown.empty() ? path : shown, *before, *after, kMaxDiff);
    return out;
}

}  // namespace workspace
