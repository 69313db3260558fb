#pragma once
#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace http {

/// An absolute http or https URL, taken apart once. No user information, no fragment.
struct Url {
    bool tls = false;
    std::string host;  ///< lower case; an IPv6 address without its brackets
    std::uint16_t port = 80;
    std::string target = "/";  ///< path and query as written, percent-encoding kept

    /// errc::invalid with the reason. Bytes outside printable ASCII are refused.
    static base::Result<Url> parse(std::string_view text);
    /// What a reference found in an answer (absolute URL, absolute path, or relative path) means seen from
    /// this URL.
    base::Result<Url> resolve(std::string_view reference) const;

    std::string origin() const;     ///< "https://host", with the port when it is not the scheme's own
    std::string authority() const;  ///< what Host says
    std::string text() const { return origin() + target; }
    std::string_view path() const;  ///< target without the query
    bool same_origin(Url const& other) const {
        return tls == other.tls && host == other.host && port == other.port;
    }
};

/// application/x-www-form-urlencoded, one name or value (RFC 3986 unreserved characters stay).
std::string percent_encode(std::string_view text);

}  // namespace http
