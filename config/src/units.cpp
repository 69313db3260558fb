#include <config/settings.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

namespace config {
namespace {

struct Split {
    std::uint64_t number = 0;
    std::string unit;    // lower case
};

// Digits, then a unit; spaces may stand between. Nothing when there is no number, or one beyond 64 bits.
std::optional<Split> split(std::string const& text) {
    Split result;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), result.number);
    if (ec != std::errc{}) return std::nullopt;
    std::string unit(end, text.data() + text.size());
    unit.erase(0, std::min(unit.find_first_not_of(' '), unit.size()));
    std::transform(unit.begin(), unit.end(), unit.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    result.unit = std::move(unit);
    return result;
}

template <class Units>
std::optional<std::uint64_t> scaled(Split const& value, Units const& units, std::uint64_t max) {
    for (auto const& [name, factor] : units) {
        if (value.unit != name) continue;
        if (value.number > max / factor) return std::nullopt;
        return value.number * factor;
    }
    return std::nullopt;
}

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

// A bare letter is binary, as in systemd and Docker; "MB" is what SI says.
constexpr Unit kSizes[] = {
    {"", 1},           {"b", 1},
    {"k", 1ull << 10}, {"ki", 1ull << 10}, {"kib", 1ull << 10}, {"kb", 1'000},
    {"m", 1ull << 20}, {"mi", 1ull << 20}, {"mib", 1ull << 20}, {"mb", 1'000'000},
    {"g", 1ull << 30}, {"gi", 1ull << 30}, {"gib", 1ull << 30}, {"gb", 1'000'000'000},
    {"t", 1ull << 40}, {"ti", 1ull << 40}, {"tib", 1ull << 40}, {"tb", 1'000'000'000'000},
};
constexpr Unit kTimes[] = {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

// So that adding one to a clock's reading never overflows.
constexpr std::uint64_t kLongest = 3650ull * 86'400'000;

constexpr Unit kShown[] = {{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}};

std::string shown(std::string const& text) { return "\"" + text.substr(0, 60) + "\""; }

}  // namespace

base::Result<std::uint64_t> parse_size(std::string const& text) {
    if (auto const parts = split(text))
        if (auto const bytes = scaled(*parts, kSizes, std::numeric_limits<std::int64_t>::max())) return *bytes;
    return base::error(base::errc::invalid, "expected a size such as 512MiB or 2GiB, not " + shown(text));
}

base::Result<std::chrono::milliseconds> parse_duration(std::string const& text) {
    if (text == "0") return std::chrono::milliseconds(0);
    if (auto const parts = split(text))
        if (auto const ms = scaled(*parts, kTimes, kLongest))
            return std::chrono::milliseconds(static_cast<std::int64_t>(*ms));
    return base::error(base::errc::invalid, "expected a time such as 500ms, 30s, 5m or 2h, not " + shown(text));
}

std::string show_size(std::uint64_t bytes) {
    for (auto const& [name, factor] : kShown)
        if (bytes >= factor && bytes % factor == 0) return std::to_string(bytes / factor).append(name);
    return std::to_string(bytes) + "B";
}

std::string show_number(double value) {
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text;
}

}  // namespace config
