#include "names.hpp"

#include <base/hash.hpp>

#include <algorithm>

namespace servers {
namespace {

constexpr std::size_t kHashDigits = 6;
constexpr std::string_view kSeparator = "__";

bool allowed(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/// `text` in the characters of tool names; "__" only where we put it. `changed` is set when that lost
/// something.
std::string plain(std::string_view text, bool& changed) {
    std::string out;
    for (char const c : text) {
        char const kept = allowed(c) ? c : '_';
        changed |= kept != c;
        if (kept == '_' && out.ends_with('_')) {
            changed = true;
            continue;
        }
        out += kept;
    }
    return out;
}

}  // namespace

std::string public_name(std::string_view server, std::string_view tool, std::size_t limit) {
    limit = std::clamp<std::size_t>(limit, 20, 64);
    bool changed = false;
    auto name = plain(server, changed);
    if (name.ends_with('_')) name.pop_back(), changed = true;
    name.append(kSeparator);
    auto rest = plain(tool, changed);
    if (rest.starts_with('_')) rest.erase(0, 1), changed = true;
    name += rest;
    if (!changed && name.size() <= limit) return name;
    auto const hash = base::sha256_hex(std::string(server) + '\0' + std::string(tool)).substr(0, kHashDigits);
    name = name.substr(0, limit - kHashDigits - 1);
    while (name.ends_with('_') || name.ends_with('-')) name.pop_back();
    return name + '_' + hash;
}

bool matches_pattern(std::string_view pattern, std::string_view name) {
    // Greedy with one point to go back to: linear in practice, and bounded by the product.
    std::size_t p = 0, n = 0, star = pattern.npos, mark = 0;
    while (n < name.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            mark = n;
        } else if (p < pattern.size() && pattern[p] == name[n]) {
            ++p, ++n;
        } else if (star != pattern.npos) {
            p = star + 1;
            n = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

std::vector<Collision> NameTable::collisions() const {
    std::vector<Collision> out;
    for (auto const& [name, claimants] : claims_)
        if (claimants.size() > 1) out.push_back({name, claimants});
    return out;
}

}  // namespace servers
