#include "glob.hpp"
#include "text.hpp"
#include <base/json.hpp>
#include <base/syscalls.hpp>
#include <workspace/files.hpp>

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

// RE2 and not std::regex or PCRE2: patterns and files are both the caller's, and RE2's time is linear in the
// file and its memory bounded, without a stack that a pattern can exhaust. The price is no back references
// and no look-around.
namespace workspace {
namespace {

using base::Beneath;
using base::errc;
using base::error;

constexpr auto kMaxTime = std::chrono::seconds(5);
constexpr std::size_t kMaxSearched = 8 << 20;  // of one file
constexpr std::size_t kMaxMatches = 10'000;
constexpr std::size_t kMaxMatchText = 300;
constexpr std::size_t kMaxRegex = 10'000;
constexpr std::array<std::string_view, 2> kSkipped{".git", "node_modules"};

bool has_part(std::string_view path, std::string_view part) {
    while (!path.empty()) {
        auto const slash = path.find('/');
        if (path.substr(0, slash) == part) return true;
        path = slash == path.npos ? std::string_view{} : path.substr(slash + 1);
    }
    return false;
}

class Search {
  public:
    Search(SearchQuery const& query, Found& found)
        : query_(query), found_(found), limit_(std::clamp<std::size_t>(query.limit, 1, kMaxMatches)) {}

    base::Status prepare() {
        if (!query_.glob.empty()) {
            auto glob = Glob::compile(query_.glob);
            if (!glob) return glob.error();
            glob_.emplace(std::move(*glob));
        }
        if (query_.regex.empty()) return {};
        if (query_.regex.size() > kMaxRegex)
            return error(errc::invalid, "the regex is longer than " + std::to_string(kMaxRegex) + " bytes");
        if (query_.regex.find('\n') != std::string::npos)
            return error(errc::invalid, "the regex contains a line break; lines are searched one by one");
        re2::RE2::Options options;
        options.set_log_errors(false);
        options.set_case_sensitive(!query_.ignore_case);
        options.set_never_nl(true);
        options.set_max_mem(16 << 20);
        re2::RE2 const plain(query_.regex,
                             options);  // compiled bare first, for a message about the caller's own text
        if (!plain.ok()) {
            auto const& fragment = plain.error_arg();
            auto const at = fragment.empty() ? std::string::npos : query_.regex.find(fragment);
            return error(
                errc::invalid,
                "regex: " + plain.error() +
                    (at == std::string::npos ? "" : " (at character " + std::to_string(at + 1) + ")") +
                    "; the syntax is RE2's: no look-around and no back references");
        }
        regex_ = std::make_unique<re2::RE2>("(?m:" + query_.regex + ")", options);
        if (!regex_->ok()) return error(errc::invalid, "regex: " + regex_->error());
        return {};
    }

    // Returns whether to go in (directories) or on (files).
    bool visit(Beneath const& dir, std::string const& relative, std::string const& shown,
               Beneath::Entry const& entry, bool named) {
        if (std::chrono::steady_clock::now() > end_) return cut();
        if (entry.kind == Beneath::Kind::directory) {
            for (auto const skipped : kSkipped)
                if (entry.name == skipped && !has_part(query_.path, skipped) &&
                    !(glob_ && glob_->names_part(skipped)))
                    return false;
            return true;
        }
        if (entry.kind != Beneath::Kind::file) return true;
        if (entry.name.starts_with(".berth-tmp-")) return true;  // a file that is being written
        if (glob_ && !glob_->matches(shown) && !glob_->matches(relative)) return true;
        if (!regex_) {
            ++found_.files_searched;
            return add({base::to_utf8(shown), 0, ""});
        }
        return search_file(dir, relative, shown, named || (glob_ && glob_->literal()));
    }

  private:
    bool cut() {
        found_.truncated = true;
        return false;
    }
    bool add(Match match) {
        if (found_.matches.size() == limit_) return cut();
        found_.matches.push_back(std::move(match));
        return true;
    }

    bool search_file(Beneath const& dir, std::string const& relative, std::string const& shown,
                     bool binary_too) {
        auto file = dir.open_file(relative);
        if (!file) return true;  // gone or swapped meanwhile
        bytes_.resize(kMaxSearched);
        std::size_t size = 0;
        while (size < kMaxSearched) {
            auto const n = ::read(file->get(), bytes_.data() + size, kMaxSearched - size);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            // Looked at once the probe is there, before the rest is read.
            bool const first = size < text::kBinaryProbe;
            size += static_cast<std::size_t>(n);
            if (first && !binary_too && text::is_binary({bytes_.data(), size})) return true;
        }
        if (char more; size == kMaxSearched && ::read(file->get(), &more, 1) == 1) found_.truncated = true;
        ++found_.files_searched;
        std::string_view content(bytes_.data(), size);
        if (content.find("\r\n") != content.npos) {  // "$" is before the line's end, however it is written
            std::size_t kept = 0;
            for (std::size_t i = 0; i < size; ++i)
                if (bytes_[i] != '\r' || i + 1 == size || bytes_[i + 1] != '\n') bytes_[kept++] = bytes_[i];
            content = std::string_view(bytes_.data(), kept);
        }
        return search_text(content, shown);
    }

    bool search_text(std::string_view content, std::string const& shown) {
        std::uint64_t line = 1;
        std::size_t counted = 0, from = 0;
        re2::StringPiece const all(content.data(), content.size());
        re2::StringPiece hit;
        while (from < content.size()) {
            if (!regex_->Match(all, from, content.size(), re2::RE2::UNANCHORED, &hit, 1)) return true;
            auto const at = static_cast<std::size_t>(hit.data() - content.data());
            if (at >= content.size()) return true;  // an empty match behind the last line
            auto const before = at == 0 ? content.npos : content.rfind('\n', at - 1);
            auto const start = before == content.npos ? 0 : before + 1;
            auto const newline = content.find('\n', at);
            auto const end = newline == content.npos ? content.size() : newline;
            line += static_cast<std::uint64_t>(
                std::count(content.begin() + static_cast<std::ptrdiff_t>(counted),
                           content.begin() + static_cast<std::ptrdiff_t>(start), '\n'));
            counted = start;
            if (!add({base::to_utf8(shown), line, excerpt(content.substr(start, end - start), at - start)}))
                return false;
            if (std::chrono::steady_clock::now() > end_) return cut();
            from = end + 1;
        }
        return true;
    }

    // Of a long line, the part around the match.
    static std::string excerpt(std::string_view line, std::size_t match) {
        constexpr std::string_view kMore = "...";
        if (line.size() <= kMaxMatchText) return text::shown(line, kMaxMatchText);
        auto start = match > kMaxMatchText / 2 ? match - kMaxMatchText / 3 : 0;
        while (start > 0 && start < match && (static_cast<unsigned char>(line[start]) & 0xC0) == 0x80)
            ++start;
        auto out = (start > 0 ? std::string(kMore) : std::string());
        out += text::shown(line.substr(start), kMaxMatchText - 2 * kMore.size());
        if (line.size() - start > kMaxMatchText - 2 * kMore.size()) out += kMore;
        return out;
    }

    SearchQuery const& query_;
    Found& found_;
    std::size_t limit_;
    std::optional<Glob> glob_;
    std::unique_ptr<re2::RE2> regex_;
    std::string bytes_;
    std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::now() + kMaxTime;
};

}  // namespace

base::Result<Found> search(base::Beneath const& root, SearchQuery const& query) {
    Found found;
    Search search(query, found);
    if (auto ok = search.prepare(); !ok) return ok.error();
    std::string path = query.path.empty() ? "." : query.path;
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    while (path.starts_with("./") && path.size() > 2) path.erase(0, 2);

    auto const entry = root.stat(path);
    if (!entry) return entry.error();
    if (entry->kind == Beneath::Kind::file) {
        search.visit(root, path, path, *entry, true);
        return found;
    }
    auto const dir = root.open_directory(path);
    if (!dir) return dir.error();
    auto const prefix = path == "." ? std::string() : path + "/";
    auto const visit = [&](std::string const& relative, Beneath::Entry const& e) {
        return search.visit(*dir, relative, prefix + relative, e, false);
    };
    if (auto ok = dir->walk(".", visit); !ok) return ok.error();
    return found;
}

}  // namespace workspace
