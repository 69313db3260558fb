#include "names.hpp"

#include <algorithm>
#include <charconv>

namespace preview {
namespace {

constexpr std::size_t kMaxPath = 4096;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/// `name` in whatever spelling; what it is compared with is in lower case.
bool is(std::string_view name, std::string_view other) {
    auto const same = [](char a, char b) { return lower(a) == b; };
    return name.size() == other.size() && std::equal(name.begin(), name.end(), other.begin(), same);
}

bool below(std::string_view name, std::string_view suffix) {
    return name.size() > suffix.size() + 1 && name[name.size() - suffix.size() - 1] == '.' &&
           is(name.substr(name.size() - suffix.size()), suffix);
}

std::optional<int> port_number(std::string_view text) {
    int value = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || text.front() == '0' || ec != std::errc() || end != text.data() + text.size() ||
        value > 65535 || value < 1)
        return std::nullopt;
    return value;
}

}  // namespace

bool plain_path(std::string_view path) {
    return path.starts_with('/') && path.size() <= kMaxPath &&
           std::none_of(path.begin(), path.end(), [](char c) {
               return static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f ||
                      c == '#';
           });
}

base::Result<Names> Names::parse_url(std::string_view url) {
    auto const bad = base::error(base::errc::invalid,
                                 "expected a URL such as https://preview.example.com, without a path");
    Names names;
    if (url.starts_with("https://"))
        names.scheme = "https", names.port = 443, url.remove_prefix(8);
    else if (url.starts_with("http://"))
        url.remove_prefix(7);
    else
        return bad;
    if (auto const colon = url.find(':'); colon != url.npos) {
        auto const number = port_number(url.substr(colon + 1));
        if (!number) return bad;
        names.port = static_cast<std::uint16_t>(*number);
        url = url.substr(0, colon);
    }
    auto const good = [](char c) { return lower_or_digit(c) || c == '-' || c == '.'; };
    // 63 of the 253 are left for the label in front.
    if (url.empty() || url.size() > 180 || !std::all_of(url.begin(), url.end(), good) || url.front() == '.' ||
        url.back() == '.' || url.find("..") != url.npos)
        return bad;
    names.suffix = url;
    return names;
}

bool Names::serves(std::string_view host) const { return below(host, suffix); }

std::optional<Name> Names::parse(std::string_view host) const {
    if (!serves(host) || !host.ends_with(suffix)) return std::nullopt;
    auto const label = host.substr(0, host.size() - suffix.size() - 1);
    auto const dash = label.find('-');
    if (label.size() > 63 || dash == label.npos) return std::nullopt;
    auto const number = port_number(label.substr(0, dash));
    auto const workspace = label.substr(dash + 1);
    auto const good = [](char c) { return lower_or_digit(c) || c == '-'; };
    if (!number || workspace.empty() || !lower_or_digit(workspace.front()) ||
        !lower_or_digit(workspace.back()) || !std::all_of(workspace.begin(), workspace.end(), good))
        return std::nullopt;
    return Name{*number, std::string(workspace)};
}

std::string Names::host(Name const& name) const {
    auto out = std::to_string(name.port) + "-" + name.workspace + "." + suffix;
    if (port != (secure() ? 443 : 80)) out += ":" + std::to_string(port);
    return out;
}

std::string Names::origin(Name const& name) const { return scheme + "://" + host(name); }

std::string Names::origin(std::string_view domain) const {
    auto out = scheme + "://" + std::string(domain);
    if (port != (secure() ? 443 : 80)) out += ":" + std::to_string(port);
    return out;
}

bool Domains::serves(std::string_view host) const {
    return std::any_of(patterns_.begin(), patterns_.end(), [&](std::string_view pattern) {
        return pattern.starts_with("*.") ? below(host, pattern.substr(2)) : is(host, pattern);
    });
}

bool Domains::may_have(std::string_view domain) const {
    auto const good = [](char c) { return lower_or_digit(c) || c == '-' || c == '.'; };
    return domain.size() <= 253 && std::all_of(domain.begin(), domain.end(), good) && !domain.starts_with('.') &&
           domain.find("..") == domain.npos && serves(domain);
}

}  // namespace preview
