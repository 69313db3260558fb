#include "gate.hpp"

#include "authority.hpp"

#include <boost/beast/core/string.hpp>

#include <algorithm>
#include <array>

namespace http {
namespace {

using Field = beast::http::field;

// Of this machine, as clients write them in Host and Origin: names, of which not every loopback address is one.
constexpr std::array<std::string_view, 3> own_names{"localhost", "127.0.0.1", "[::1]"};

bool is_own_name(std::string_view host) {
    auto const same = [host](std::string_view known) { return beast::iequals(host, known); };
    return std::any_of(own_names.begin(), own_names.end(), same);
}

}  // namespace

Gate::Gate(GateOptions options) : options_(std::move(options)) {
    loopback_ = std::any_of(options_.hosts.begin(), options_.hosts.end(), is_own_name);
}

bool Gate::host_allowed(std::string_view host) const {
    auto const name = host_name(host);
    if (!name || name->empty()) return false;
    auto const same = [&](std::string const& allowed) { return beast::iequals(*name, allowed); };
    return std::any_of(options_.hosts.begin(), options_.hosts.end(), same);
}

bool Gate::origin_allowed(std::string_view origin) const {
    auto const& listed = options_.origins;
    if (std::find(listed.begin(), listed.end(), origin) != listed.end()) return true;
    if (!loopback_) return false;
    for (std::string_view const scheme : {"http://", "https://"}) {
        if (!origin.starts_with(scheme)) continue;
        auto const name = host_name(origin.substr(scheme.size()));
        return name && is_own_name(*name);
    }
    return false;
}

std::optional<Refusal> Gate::admit(Fields const& fields) const {
    // More than one value would leave it to the next reader which of them counts.
    if (fields.count(Field::host) != 1) return Refusal{Status::bad_request, "exactly one Host is required"};
    if (fields.count(Field::origin) > 1) return Refusal{Status::bad_request, "more than one Origin"};
    if (!host_allowed(fields[Field::host])) return Refusal{Status::forbidden, "host not allowed"};
    auto const origin = fields.find(Field::origin);
    if (origin != fields.end() && !origin_allowed(origin->value()))
        return Refusal{Status::forbidden, "origin not allowed"};
    return std::nullopt;
}

boost::system::result<Principal, Refusal> Gate::authenticate(Fields const& fields) const {
    Refusal const refusal{Status::unauthorized, "a valid bearer token is required"};
    constexpr std::string_view scheme = "Bearer ";
    if (fields.count(Field::authorization) != 1) return refusal;
    std::string_view value = fields[Field::authorization];
    if (value.size() <= scheme.size() || !beast::iequals(value.substr(0, scheme.size()), scheme))
        return refusal;
    value.remove_prefix(scheme.size());
    while (value.starts_with(' ')) value.remove_prefix(1);
    if (value.empty() || !options_.authenticate) return refusal;
    auto principal = options_.authenticate(value);
    if (!principal) return refusal;
    return std::move(*principal);
}

}  // namespace http
