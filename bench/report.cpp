#include "report.hpp"

#include <array>
#include <cmath>
#include <cstdio>

namespace bench {
namespace {

// Three significant digits, which is more than a noisy machine repeats.
std::string number(double value) {
    char text[32];
    double const size = std::fabs(value);
    int const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string factor(Entry const& e) {
    if (!e.ratio) return "";
    bool const rate = e.unit.ends_with("/s");  // more is better
    double const better = rate ? *e.ratio : *e.ratio > 0 ? 1 / *e.ratio : 0;
    if (better >= 2) return number(better) + " x better";
    return number(*e.ratio) + " x";
}

constexpr std::size_t kColumns = 10;
using Line = std::array<std::string, kColumns>;

}  // namespace

void promise(Entry& entry, std::string text, bool met) {
    entry.promise = std::move(text);
    entry.met = met;
}

Entry& Report::add(std::string row, std::string what, std::string unit, Samples const& s) {
    Entry e;
    e.row = std::move(row);
    e.what = std::move(what);
    e.unit = std::move(unit);
    e.n = s.count();
    e.p50 = s.p50();
    e.p95 = s.p95();
    e.p99 = s.p99();
    entries_.push_back(std::move(e));
    return entries_.back();
}

Entry& Report::add(std::string row, std::string what, std::string unit, Samples const& s, std::string beside,
                   Samples const& other) {
    auto& e = add(std::move(row), std::move(what), std::move(unit), s);
    e.beside = std::move(beside);
    e.beside_p50 = other.p50();
    if (*e.beside_p50 > 0) e.ratio = e.p50 / *e.beside_p50;
    return e;
}

void Report::print_table() const {
    std::vector<Line> lines{
        {"row", "what", "n", "p50", "p95", "p99", "beside", "its p50", "ratio", "promise"}};
    for (auto const& e : entries_) {
        auto const unit = e.unit == "1" ? "" : " " + e.unit;
        std::string kept;
        if (e.met) kept = std::string(*e.met ? "met: " : "NOT MET: ") + e.promise;
        lines.push_back({e.row, e.what, std::to_string(e.n), number(e.p50) + unit, number(e.p95),
                         number(e.p99), e.beside, e.beside_p50 ? number(*e.beside_p50) : "", factor(e),
                         kept});
    }
    std::array<std::size_t, kColumns> width{};
    for (auto const& line : lines)
        for (std::size_t i = 0; i < kColumns; ++i) width[i] = std::max(width[i], line[i].size());
    for (auto const& line : lines) {
        std::string text;
        for (std::size_t i = 0; i < kColumns; ++i) {
            auto const pad = std::string(width[i] - line[i].size(), ' ');
            bool const numeric = (i >= 2 && i <= 5) || i == 7;
            text += (numeric ? pad + line[i] : line[i] + pad) + "  ";
        }
        text.erase(text.find_last_not_of(' ') + 1);
        std::printf("%s\n", text.c_str());
    }
    for (auto const& line : notes_) std::printf("  %s\n", line.c_str());
}

base::Json Report::json() const {
    auto all = base::Json::array();
    for (auto const& e : entries_) {
        base::Json j = {{"row", e.row}, {"what", e.what}, {"unit", e.unit}, {"n", e.n},
                        {"p50", e.p50}, {"p95", e.p95},   {"p99", e.p99}};
        j["beside"] = e.beside.empty() ? base::Json() : base::Json(e.beside);
        j["beside_p50"] = e.beside_p50 ? base::Json(*e.beside_p50) : base::Json();
        j["ratio"] = e.ratio ? base::Json(*e.ratio) : base::Json();
        j["promise"] = e.promise.empty() ? base::Json() : base::Json(e.promise);
        j["met"] = e.met ? base::Json(*e.met) : base::Json();
        all.push_back(std::move(j));
    }
    return all;
}

}  // namespace bench
