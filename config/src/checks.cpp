#include "keys.hpp"

#include <base/asio.hpp>
#include <config/listen.hpp>

#include <algorithm>
#include <charconv>

namespace config {
namespace {

bool host_characters(std::string_view s) {
    return !s.empty() && s.size() <= 253 && s.front() != '.' && s.front() != '-' && s.find("..") == s.npos &&
           std::all_of(s.begin(), s.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
           });
}

bool address(std::string const& s) {
    boost::system::error_code ec;
    asio::ip::make_address(s, ec);
    return !ec;
}

// "host", "host:port", "[v6]" or "[v6]:port".
bool host_and_port(std::string_view s) {
    std::string_view port;
    bool host_ok = false;
    if (s.starts_with('[')) {
        auto const end = s.find(']');
        if (end == s.npos) return false;
        host_ok = address(std::string(s.substr(1, end - 1)));
        s.remove_prefix(end + 1);
        if (s.empty()) return host_ok;
        if (s.front() != ':') return false;
        port = s.substr(1);
    } else {
        auto const colon = s.find(':');
        host_ok = host_characters(s.substr(0, colon));
        if (colon == s.npos) return host_ok;
        port = s.substr(colon + 1);
    }
    unsigned number = 0;
    auto const [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
    return host_ok && ec == std::errc{} && end == port.data() + port.size() && number >= 1 && number <= 65535;
}

std::optional<Finding> check_limits(Settings const& s) {
    auto const above = [](std::string const& key, std::string const& max) {
        return Finding{"limits." + key, "expected no more than max_limits." + key + " (" + max + ")"};
    };
    if (s.limits.memory_bytes > s.max_limits.memory_bytes)
        return above("memory", show_size(s.max_limits.memory_bytes));
    if (s.limits.cpus > s.max_limits.cpus) return above("cpus", show_number(s.max_limits.cpus));
    if (s.limits.pids > s.max_limits.pids) return above("pids", std::to_string(s.max_limits.pids));
    if (s.limits.disk_bytes > s.max_limits.disk_bytes)
        return above("disk", show_size(s.max_limits.disk_bytes));
    return std::nullopt;
}

std::optional<Finding> check_pools(Settings const& s) {
    long total = 0;
    for (auto const& [name, pool] : s.pools) {
        if (pool.awake > pool.ready)
            return Finding{"pools." + name + ".awake",
                           "expected no more than its ready (" + std::to_string(pool.ready) + ")"};
        total += pool.ready;
    }
    if (total > s.max_sandboxes)
        return Finding{"pools", "expected at most max_sandboxes (" + std::to_string(s.max_sandboxes) +
                                    ") sandboxes ready in all pools together, not " + std::to_string(total)};
    return std::nullopt;
}

std::optional<Finding> check_native(Settings const& s) {
    if (!s.native.templates.empty() && !s.native.allow)
        return Finding{"native.templates", "expected native.allow: true beside it"};
    return std::nullopt;
}

std::optional<Finding> check_previews(Settings const& s) {
    auto const& p = s.previews;
    if (!address(p.address)) return Finding{"previews.address", "expected an IP address such as 127.0.0.1 or ::"};
    if (p.tls_certificate.empty() != p.tls_key.empty())
        return Finding{p.tls_key.empty() ? "previews.tls_certificate" : "previews.tls_key",
                       "expected tls_certificate and tls_key together"};
    if (p.port != 0 && !is_loopback(p.address) && p.tls_certificate.empty() && !s.listen.insecure_plain_http)
        return Finding{"previews.address", "expected a loopback address, or tls_certificate and tls_key: links would cross the "
                                           "network in the clear (listen.insecure_plain_http: true allows that)"};
    // A name of the server's own below theirs would be a preview's.
    auto const suffix = "." + (p.url.empty() ? "localhost" : url_host(p.url));
    auto own = s.listen.hosts;
    if (!s.listen.url.empty()) own.push_back(url_host(s.listen.url));
    for (auto const& name : own) {
        auto const* key = &name == &own.back() && !s.listen.url.empty() ? "listen.url" : "listen.hosts";
        if (name.ends_with(suffix)) return Finding{key, "expected no name below that of previews: " + (key == std::string_view("listen.url") ? s.listen.url : name)};
        for (auto const& domain : p.domains)
            if (name == domain || (domain.starts_with('*') && name.ends_with(domain.substr(1))))
                return Finding{"previews.domains", "expected no name of the server's own: " + name};
    }
    return std::nullopt;
}

}  // namespace

std::string url_host(std::string const& url) {
    auto const from = url.find("//");
    if (from == url.npos) return "";
    auto const authority = url.substr(from + 2);
    return authority.substr(0, authority.find(':', authority.starts_with('[') ? authority.find(']') : 0));
}

std::string check_host(std::string const& s) {
    // Clients are admitted by the name alone, whatever the port.
    bool const bare = s.starts_with('[') ? s.ends_with(']') : s.find(':') == s.npos;
    return bare && host_and_port(s) ? "" : "expected host names such as tools.example.com, without a port";
}

std::string check_origin(std::string const& s) {
    std::string_view rest = s;
    if (rest.starts_with("https://")) rest.remove_prefix(8);
    else if (rest.starts_with("http://")) rest.remove_prefix(7);
    else rest = {};
    return host_and_port(rest) ? "" : "expected origins such as https://app.example.com, without a path";
}

std::string check_toolset(std::string const& s) {
    bool const known = std::find(kToolsets.begin(), kToolsets.end(), s) != kToolsets.end();
    return known ? "" : "expected any of " + toolset_names();
}

std::string check_pattern(std::string const& s) {
    if (s == "*") return "";
    std::string_view rest = s;
    if (rest.starts_with("*.")) rest.remove_prefix(2);
    return host_and_port(rest) ? "" : "expected *, or hosts such as pypi.org, *.example.com or example.com:8080";
}

std::string check_network(std::string const& s) {
    boost::system::error_code v4, v6;
    asio::ip::make_network_v4(s, v4);
    if (!v4) return "";
    asio::ip::make_network_v6(s, v6);
    return v6 ? "expected networks such as 10.0.5.0/24 or fd00:1::/64" : "";
}

std::string check_domain(std::string const& s) {
    auto const name = s.starts_with("*.") ? s.substr(2) : s;
    bool const lower = std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    bool const good = lower && host_and_port(name) && name.find_first_of(":[") == name.npos && name.find('.') != name.npos &&
                      !address(name);
    return good ? "" : "expected names such as shop.example.com or *.apps.example.com, in lower case";
}

std::string check_name(std::string const& s) {
    auto const plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    bool const good = !s.empty() && s.size() <= 64 && plain(s.front()) && std::all_of(s.begin(), s.end(), [&](char c) {
        return plain(c) || c == '-' || c == '_' || c == '.';
    });
    return good ? "" : "expected a name of a-z, 0-9, dot, hyphen and underscore, at most 64 long";
}

std::optional<Finding> check(Settings const& s) {
    auto const& l = s.listen;
    if (!address(l.address)) return Finding{"listen.address", "expected an IP address such as 127.0.0.1 or ::"};
    if (l.tls_certificate.empty() != l.tls_key.empty())
        return Finding{l.tls_key.empty() ? "listen.tls_certificate" : "listen.tls_key",
                       "expected tls_certificate and tls_key together"};
    if (!is_loopback(l.address) && l.tls_certificate.empty() && !l.insecure_plain_http)
        return Finding{"listen.address", "expected a loopback address, or tls_certificate and tls_key: tokens would cross "
                                         "the network in the clear (listen.insecure_plain_http: true allows that)"};
    if (auto finding = check_previews(s)) return finding;
    if (auto finding = check_native(s)) return finding;
    if (auto finding = check_limits(s)) return finding;
    return check_pools(s);
}

}  // namespace config
