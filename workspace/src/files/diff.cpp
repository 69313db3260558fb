#include "text.hpp"
#include <workspace/files.hpp>

#include <algorithm>
#include <unordered_map>

namespace workspace {
namespace {

constexpr std::size_t kContext = 3;
constexpr std::size_t kMaxLines = 100'000;     // of both sides together; beyond, what changed is one hunk
constexpr std::int64_t kMaxSteps = 4'000'000;  // about 20 ms
using Lines = std::vector<std::string_view>;

struct Change {
    std::size_t a, a_end, b, b_end;  // lines [a, a_end) became [b, b_end)
};

// Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), section 4b: the middle snake splits the
// problem, so that memory is linear. Work is bounded: when it runs out, what is left becomes one change.
class Myers {
  public:
    Myers(std::vector<int> a, std::vector<int> b) : a_(std::move(a)), b_(std::move(b)) {
        auto const size = 2 * (a_.size() + b_.size()) + 4;
        forward_.resize(size);
        backward_.resize(size);
    }
    std::vector<Change> run() {
        split(0, static_cast<int>(a_.size()), 0, static_cast<int>(b_.size()));
        return std::move(changes_);
    }

  private:
    void add(int a, int a_end, int b, int b_end) {
        if (a == a_end && b == b_end) return;
        auto const u = [](int n) { return static_cast<std::size_t>(n); };
        if (!changes_.empty() && changes_.back().a_end == u(a) && changes_.back().b_end == u(b)) {
            changes_.back().a_end = u(a_end);
            changes_.back().b_end = u(b_end);
        } else {
            changes_.push_back({u(a), u(a_end), u(b), u(b_end)});
        }
    }
    int at_a(int i) const { return a_[static_cast<std::size_t>(i)]; }
    int at_b(int i) const { return b_[static_cast<std::size_t>(i)]; }

    // Recursion halves the edit distance each time, and the distance is bounded by the steps: some 20 levels.
    void split(int a, int a_end, int b, int b_end) {
        while (a < a_end && b < b_end && at_a(a) == at_b(b)) ++a, ++b;
        while (a < a_end && b < b_end && at_a(a_end - 1) == at_b(b_end - 1)) --a_end, --b_end;
        int x = 0, y = 0;
        if (a == a_end || b == b_end || !middle(a, a_end, b, b_end, x, y)) return add(a, a_end, b, b_end);
        split(a, x, b, y);
        split(x, a_end, y, b_end);
    }

    // A point on a shortest path, strictly inside the box. False when the steps ran out.
    bool middle(int a, int a_end, int b, int b_end, int& x_out, int& y_out) {
        int const n = a_end - a, m = b_end - b, delta = n - m;
        bool const odd = delta % 2 != 0;
        int const offset = static_cast<int>(forward_.size() / 2);
        auto const f = [&](int k) -> int& { return forward_[static_cast<std::size_t>(offset + k)]; };
        auto const r = [&](int k) -> int& { return backward_[static_cast<std::size_t>(offset + k)]; };
        f(1) = r(1) = 0;
        for (int d = 0; d <= (n + m + 1) / 2; ++d) {
            for (int k = -d; k <= d; k += 2) {
                int x = k == -d || (k != d && f(k - 1) < f(k + 1)) ? f(k + 1) : f(k - 1) + 1;
                int y = x - k;
                int const start = x;
                while (x < n && y >= 0 && y < m && at_a(a + x) == at_b(b + y)) ++x, ++y;
                f(k) = x;
                steps_ += 1 + x - start;
                int const back = delta - k;
                if (odd && back >= -(d - 1) && back <= d - 1 && x + r(back) >= n)
                    return inside(a + x, b + y, a, a_end, b, b_end, x_out, y_out);
            }
            for (int k = -d; k <= d; k += 2) {
                int x = k == -d || (k != d && r(k - 1) < r(k + 1)) ? r(k + 1) : r(k - 1) + 1;
                int y = x - k;
                int const start = x;
                while (x < n && y >= 0 && y < m && at_a(a_end - 1 - x) == at_b(b_end - 1 - y)) ++x, ++y;
                r(k) = x;
                steps_ += 1 + x - start;
                int const back = delta - k;
                if (!odd && back >= -d && back <= d && x + f(back) >= n)
                    return inside(a_end - x, b_end - y, a, a_end, b, b_end, x_out, y_out);
            }
            if (steps_ > kMaxSteps) return false;
        }
        return false;
    }
    static bool inside(int x, int y, int a, int a_end, int b, int b_end, int& x_out, int& y_out) {
        x_out = x;
        y_out = y;
        if (x < a || x > a_end || y < b || y > b_end) return false;
        return !(x == a && y == b) && !(x == a_end && y == b_end);
    }

    std::vector<int> a_, b_, forward_, backward_;
    std::vector<Change> changes_;
    std::int64_t steps_ = 0;
};

std::vector<Change> changes_between(Lines const& a, Lines const& b) {
    std::unordered_map<std::string_view, int> ids;
    auto const numbered = [&](Lines const& lines) {
        std::vector<int> out;
        out.reserve(lines.size());
        for (auto const line : lines)
            out.push_back(ids.try_emplace(line, static_cast<int>(ids.size())).first->second);
        return out;
    };
    auto first = numbered(a), second = numbered(b);
    return Myers(std::move(first), std::move(second)).run();
}

// Lines before `end`, at most kContext, oldest first. `end` is at the start of a line.
Lines lines_before(std::string_view text, std::size_t end) {
    Lines out;
    while (end > 0 && out.size() < kContext) {
        auto const start = end < 2 ? text.npos : text.rfind('\n', end - 2);
        auto const from = start == text.npos ? 0 : start + 1;
        out.insert(out.begin(), text.substr(from, end - from));
        end = from;
    }
    return out;
}

class Printer {
  public:
    explicit Printer(std::size_t max) : max_(max) {}
    bool full() const { return full_; }
    void line(char mark, std::string_view text) {
        auto const bare = text::without_newline(text);
        put(mark + text::shown(bare, max_) + "\n");
        if (bare.size() == text.size()) put("\\ No newline at end of file\n");
    }
    void put(std::string const& text) {
        constexpr std::string_view kCut = "... (diff cut)\n";
        if (full_) return;
        if (out_.size() + text.size() + kCut.size() > max_) {
            full_ = true;
            if (out_.size() + kCut.size() <= max_) out_ += kCut;
        } else {
            out_ += text;
        }
    }
    std::string take() { return std::move(out_); }

  private:
    std::string out_;
    std::size_t max_;
    bool full_ = false;
};

std::string range(std::uint64_t line, std::size_t count) {
    // An empty range names the line before it (POSIX diff -u).
    return std::to_string(count ? line : line - 1) + (count == 1 ? "" : "," + std::to_string(count));
}

}  // namespace

std::string unified_diff(std::string const& path, std::string_view before, std::string_view after,
                         std::size_t max_characters) {
    if (before == after) return "";
    // What is the same at both ends goes first, by bytes: an edit of a large file then costs what the edit
    // costs.
    auto const shorter = std::min(before.size(), after.size());
    auto const split =
        std::mismatch(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(shorter), after.begin())
            .first;
    auto head = static_cast<std::size_t>(split - before.begin());
    head = head == 0 ? 0 : before.rfind('\n', head - 1) + 1;  // npos + 1 is 0
    std::size_t tail = 0;
    while (tail < shorter - head && before[before.size() - 1 - tail] == after[after.size() - 1 - tail])
        ++tail;
    auto const tail_text = before.substr(before.size() - tail);
    // The tail starts after a line's end, on both sides.
    bool const whole = (before.size() == tail + head || before[before.size() - tail - 1] == '\n') &&
                       (after.size() == tail + head || after[after.size() - tail - 1] == '\n');
    if (!whole) {
        auto const newline = tail_text.find('\n');
        tail = newline == tail_text.npos ? 0 : tail_text.size() - newline - 1;
    }

    auto const a_text = before.substr(head, before.size() - head - tail),
               b_text = after.substr(head, after.size() - head - tail);
    auto const a_count = text::count_lines(a_text), b_count = text::count_lines(b_text);
    auto context = lines_before(before, head);
    auto const first_line = text::count_lines(before.substr(0, head)) + 1 - context.size();
    auto const shown_most = std::max<std::size_t>(max_characters, 1);
    bool const small = a_count + b_count <= kMaxLines;
    Lines a = context, b = context;
    for (auto [lines, middle] : {std::pair(&a, a_text), std::pair(&b, b_text)}) {
        auto const most = small ? kMaxLines : shown_most;
        auto const own = text::split_lines(middle, most);
        lines->insert(lines->end(), own.begin(), own.end());
    }

    Printer out(max_characters);
    out.put("--- a/" + text::shown(path, 1000) + "\n+++ b/" + text::shown(path, 1000) + "\n");
    if (!small) {
        out.put("@@ -" + range(first_line, context.size() + a_count) + " +" +
                range(first_line, context.size() + b_count) + " @@\n");
        for (auto const line : context) out.line(' ', line);
        for (std::size_t i = context.size(); i < a.size() && !out.full(); ++i) out.line('-', a[i]);
        for (std::size_t i = context.size(); i < b.size() && !out.full(); ++i) out.line('+', b[i]);
        return out.take();
    }

    auto const after_context = text::split_lines(before.substr(before.size() - tail), kContext);
    a.insert(a.end(), after_context.begin(), after_context.end());
    b.insert(b.end(), after_context.begin(), after_context.end());
    auto const changes = changes_between(a, b);
    for (std::size_t i = 0; i < changes.size() && !out.full();) {
        std::size_t last = i;
        while (last + 1 < changes.size() && changes[last + 1].a - changes[last].a_end <= 2 * kContext) ++last;
        auto const lead = std::min(kContext, changes[i].a);
        auto const a_start = changes[i].a - lead, b_start = changes[i].b - lead;
        auto const a_end = std::min(a.size(), changes[last].a_end + kContext);
        auto const b_end = changes[last].b_end + (a_end - changes[last].a_end);
        out.put("@@ -" + range(first_line + a_start, a_end - a_start) + " +" +
                range(first_line + b_start, b_end - b_start) + " @@\n");
        auto at = a_start;
        for (; i <= last; ++i) {
            for (; at < changes[i].a; ++at) out.line(' ', a[at]);
            for (; at < changes[i].a_end; ++at) out.line('-', a[at]);
            for (auto j = changes[i].b; j < changes[i].b_end && !out.full(); ++j) out.line('+', b[j]);
        }
        for (; at < a_end; ++at) out.line(' ', a[at]);
    }
    return out.take();
}

}  // namespace workspace
