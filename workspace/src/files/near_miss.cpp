#include "near_miss.hpp"

#include "text.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <unordered_map>

namespace workspace {
namespace {

constexpr std::size_t kMaxCompared = 1 << 20;
constexpr std::size_t kMaxWanted = 50;  // lines
constexpr std::size_t kMaxShownLines = 12;
constexpr std::size_t kMaxShownBytes = 200;  // of a line
constexpr double kAlike = 0.5;               // below, a line is not worth showing

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trim_right(std::string_view s) {
    while (!s.empty() && blank(s.back())) s.remove_suffix(1);
    return s;
}
std::string_view trim(std::string_view s) {
    s = trim_right(s);
    while (!s.empty() && blank(s.front())) s.remove_prefix(1);
    return s;
}
std::string_view indent(std::string_view s) {
    return s.substr(0, s.size() - trim(s).size() - (s.size() - trim_right(s).size()));
}

// White space squeezed and letters in lower case: equal forms differ only in what models get wrong most.
std::string loose(std::string_view line) {
    std::string out;
    for (char const c : trim(line)) {
        if (blank(c)) {
            if (out.back() != ' ') out += ' ';
        } else {
            out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        }
    }
    return out;
}

// Dice coefficient over pairs of letters, hashed into a small table. Linear in the lines' lengths.
class Likeness {
  public:
    explicit Likeness(std::string_view wanted) : wanted_(wanted.substr(0, kMaxLine)) {
        each_pair(wanted_, [&](std::size_t slot) { ++counts_[slot]; });
    }
    double of(std::string_view line) {
        line = line.substr(0, kMaxLine);
        if (line.size() < 2 || wanted_.size() < 2) return line == wanted_ ? 1 : 0;
        std::size_t common = 0;
        auto counts = counts_;
        each_pair(line, [&](std::size_t slot) {
            if (counts[slot] > 0) --counts[slot], ++common;
        });
        return 2.0 * static_cast<double>(common) / static_cast<double>(line.size() + wanted_.size() - 2);
    }

  private:
    static constexpr std::size_t kMaxLine = 4096;
    static constexpr std::size_t kSlots = 256;
    template <class Each>
    static void each_pair(std::string_view s, Each each) {
        for (std::size_t i = 1; i < s.size(); ++i)
            each((static_cast<unsigned char>(s[i - 1]) * 31u + static_cast<unsigned char>(s[i])) % kSlots);
    }
    std::string_view wanted_;
    std::array<std::uint16_t, kSlots> counts_{};
};

// The name of the first difference between a line of the file and the one wanted.
std::string difference(std::string_view have, std::string_view want) {
    if (have == want) return "";
    bool const have_cr = have.ends_with('\r'), want_cr = want.ends_with('\r');
    auto const h = trim_right(have), w = trim_right(want);
    if (h == w) {
        if (have_cr != want_cr)
            return have_cr ? "the file's lines end with CRLF (\\r\\n), old_string's with LF"
                           : "old_string has CRLF (\\r\\n), the file LF";
        return have.size() > want.size() ? "the file has trailing white space"
                                         : "old_string has trailing white space";
    }
    if (trim(have) == trim(want)) {
        auto const hi = indent(have), wi = indent(want);
        bool const have_tab = hi.find('\t') != hi.npos, want_tab = wi.find('\t') != wi.npos;
        if (have_tab != want_tab)
            return have_tab ? "the file is indented with tabs, old_string with spaces"
                            : "the file is indented with spaces, old_string with tabs";
        return "indentation: the file has " + std::to_string(hi.size()) + " characters, old_string " +
               std::to_string(wi.size());
    }
    if (loose(have) == loose(want)) {
        std::string a, b;
        for (char const c : h)
            if (!blank(c)) a += c;
        for (char const c : w)
            if (!blank(c)) b += c;
        return a == b ? "white space inside the line (tabs or several spaces)" : "upper and lower case";
    }
    return "the text: the file has \"" + text::shown(trim(have), kMaxShownBytes) + "\", old_string \"" +
           text::shown(trim(want), kMaxShownBytes) + "\"";
}

// read_file's "12<tab>" in front of each line, pasted along with the text.
std::optional<std::string> without_line_numbers(std::string_view wanted) {
    std::string out;
    while (!wanted.empty()) {
        auto line = text::take_line(wanted);
        std::size_t i = 0;
        while (i < line.size() && line[i] == ' ') ++i;
        auto const digits = i;
        while (i < line.size() && line[i] >= '0' && line[i] <= '9') ++i;
        if (i == digits || i == line.size() || line[i] != '\t') return std::nullopt;
        out += line.substr(i + 1);
    }
    return out;
}

struct Place {
    std::size_t first = 0;  // index of the line in the file that stands for wanted's first
    std::size_t equal = 0;  // lines that are equal but for white space and case
};

// The window with the most lines that are loosely equal: every equal pair votes for the window it implies.
Place vote(std::vector<std::string> const& have, std::vector<std::string> const& want) {
    std::unordered_map<std::string_view, std::vector<std::size_t>> where;
    for (std::size_t i = 0; i < want.size(); ++i)
        if (!want[i].empty()) where[want[i]].push_back(i);
    std::vector<std::uint8_t> votes(have.size());
    for (std::size_t line = 0; line < have.size(); ++line)
        if (auto const hit = where.find(have[line]); hit != where.end())
            for (auto const index : hit->second)
                if (line >= index && votes[line - index] < 255) ++votes[line - index];
    auto const best = std::max_element(votes.begin(), votes.end());
    if (best == votes.end()) return {};
    return {static_cast<std::size_t>(best - votes.begin()), *best};
}

}  // namespace

std::string describe_near_miss(std::string_view text, std::string_view wanted) {
    if (auto const bare = without_line_numbers(wanted); bare && text::find(text, *bare, 0) != text.npos)
        return "it contains the line numbers of read_file; leave the numbers and the tab after them out";

    auto const lines = text::split_lines(text.substr(0, kMaxCompared), kMaxCompared);
    auto wanted_lines = text::split_lines(wanted, kMaxWanted);
    // Blank lines at the front would make any blank line of the file a start.
    std::vector<std::string> have, want;
    for (auto const line : lines) have.push_back(loose(text::without_newline(line)));
    for (auto const line : wanted_lines) want.push_back(loose(text::without_newline(line)));

    auto place = vote(have, want);
    if (place.equal == 0) {
        // No line is the same: the likest line to the longest one wanted.
        auto const longest = static_cast<std::size_t>(
            std::max_element(want.begin(), want.end(),
                             [](auto const& a, auto const& b) { return a.size() < b.size(); }) -
            want.begin());
        if (want.empty() || want[longest].empty()) return "the file has no such blank lines";
        Likeness likeness(want[longest]);
        double best = 0;
        for (std::size_t line = longest; line < have.size(); ++line)
            if (double const alike = likeness.of(have[line]); alike > best)
                best = alike, place.first = line - longest;
        if (best < kAlike) {
            for (std::size_t line = 0; line < have.size(); ++line)
                if (have[line].find(want[longest]) != std::string::npos)
                    best = 1, place.first = line >= longest ? line - longest : 0;
        }
        if (best < kAlike) return "nothing in the file is like it; read the file again";
    }

    auto const end = std::min(place.first + want.size(), lines.size());
    std::string differs;
    for (std::size_t i = 0; differs.empty() && i < want.size(); ++i) {
        auto const w = text::without_newline(wanted_lines[i]);
        if (place.first + i >= lines.size()) {
            differs = "the file ends before old_string's line " + std::to_string(i + 1);
            break;
        }
        auto h = text::without_newline(lines[place.first + i]);
        // The first line may be wanted from its middle, the last up to its middle.
        bool const first = i == 0, last = i + 1 == want.size() && !wanted.ends_with('\n');
        if ((first && last && h.find(w) != h.npos) || (first && !last && h.ends_with(w)) ||
            (last && !first && h.starts_with(w)))
            continue;
        if (auto what = difference(h, w); !what.empty())
            differs = "line " + std::to_string(place.first + i + 1) + ": " + std::move(what);
    }
    if (differs.empty()) differs = "line breaks: compare the lines' ends";
    std::string out = "the nearest lines are " + std::to_string(place.first + 1) + " to " +
                      std::to_string(std::max(end, place.first + 1)) + ", and differ in " + differs + ":\n";
    for (std::size_t i = place.first; i < end; ++i) {
        if (i == place.first + kMaxShownLines) {
            out += "...\n";
            break;
        }
        out += std::to_string(i + 1) + '\t' + text::shown(text::without_newline(lines[i]), kMaxShownBytes) +
               '\n';
    }
    return out;
}

}  // namespace workspace
