#include "authority.hpp"

#include <algorithm>

namespace http {
namespace {

bool is_port(std::string_view text) {
    if (text.empty() || text.size() > 5) return false;
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::optional<std::string_view> host_name(std::string_view authority) {
    std::size_t name_end = authority.find(':');
    if (authority.starts_with('[')) {
        auto const bracket = authority.find(']');
        if (bracket == std::string_view::npos) return std::nullopt;
        name_end = bracket + 1 == authority.size() ? std::string_view::npos : bracket + 1;
    }
    if (name_end == std::string_view::npos) return authority;
    if (authority[name_end] != ':' || !is_port(authority.substr(name_end + 1))) return std::nullopt;
    return authority.substr(0, name_end);
}

}  // namespace http
