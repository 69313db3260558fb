#include "address.hpp"

#include <sandbox/egress.hpp>

#include <charconv>

namespace sandbox {
namespace {

constexpr std::size_t kMaxRules = 1000;

base::Error refused(std::string const& pattern) {
    return base::error(base::errc::invalid,
                       "\"" + pattern.substr(0, 100) +
                           "\" is no host pattern: expected example.com, *.example.com, * or an IP address, each with "
                           "an optional :port");
}

// Splits off ":port"; an IPv6 literal has a port only in brackets. False when the port is none.
bool split_port(std::string_view& host, int& port) {
    auto const bracket = host.rfind(']');
    auto const colon = host.rfind(':');
    if (colon == host.npos || (bracket != host.npos && colon < bracket)) return true;
    if (bracket == host.npos && host.find(':') != colon) return true;
    auto const digits = host.substr(colon + 1);
    auto const [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    host = host.substr(0, colon);
    return ec == std::errc{} && end == digits.data() + digits.size() && port >= 1 && port <= 65535;
}

}  // namespace

base::Result<EgressPolicy> EgressPolicy::parse(std::vector<std::string> const& patterns) {
    EgressPolicy policy;
    if (patterns.size() > kMaxRules)
        return base::error(base::errc::limit, "more than " + std::to_string(kMaxRules) + " host patterns");
    for (auto const& pattern : patterns) {
        Rule rule;
        std::string_view host = pattern;
        if (!split_port(host, rule.port)) return refused(pattern);
        if (host == "*") {
            rule.subdomains = true;
            policy.rules.push_back(std::move(rule));
            continue;
        }
        if (host.starts_with("*.")) {
            rule.subdomains = true;
            host.remove_prefix(2);
        }
        rule.host = egress::canonical_name(host);
        if (rule.host.empty() && !rule.subdomains) rule.host = egress::canonical_literal(host);
        if (rule.host.empty()) return refused(pattern);
        policy.rules.push_back(std::move(rule));
    }
    return policy;
}

bool EgressPolicy::allows(std::string_view host, int port) const {
    std::string name = egress::canonical_name(host);
    bool const literal = name.empty();
    if (literal) name = egress::canonical_literal(host);
    if (name.empty()) return false;
    for (auto const& rule : rules) {
        if (rule.port == 0 ? port != 80 && port != 443 : port != rule.port) continue;
        if (!rule.subdomains) {
            if (name == rule.host) return true;
            continue;
        }
        if (literal) continue;    // only by its own name, never by a wildcard
        if (rule.host.empty()) return true;
        if (name.size() > rule.host.size() + 1 && name.ends_with(rule.host) &&
            name[name.size() - rule.host.size() - 1] == '.')
            return true;
    }
    return false;
}

}  // namespace sandbox
