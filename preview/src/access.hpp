#pragma once
#include <base/ids.hpp>

#include <boost/beast/http/fields.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// Who may see a preview. Pure: no clock, no table.
namespace preview {

using Fields = boost::beast::http::fields;

/// In the URL of a private link.
inline constexpr std::string_view kLinkParameter = "berth_preview";
/// For programs whose own credential stands in Authorization.
inline constexpr std::string_view kTokenHeader = "Berth-Preview-Token";
/// Our cookie. On https its name keeps pages of other hosts, siblings below the same suffix above all, from
/// planting one.
std::string_view cookie_name(bool secure);
bool is_our_cookie(std::string_view name);

/// What signed credentials are about. A new `version` makes all earlier ones void.
struct Subject {
    std::string preview;  ///< the record's id
    std::uint64_t version = 0;
};
enum class Kind : char { link = 'l', cookie = 'c' };

/// "bp1.<kind>.<expires>.<mac>", good for one preview until `expires_s` (Unix time). A cookie's is no link's:
/// what a page could read of either opens nothing else.
std::string seal(base::Secret const& key, Subject const&, Kind, std::int64_t expires_s);
/// When it expires; nothing when it is not one of ours for this subject and kind, or is expired.
std::optional<std::int64_t> unseal(base::Secret const& key, Subject const&, Kind, std::string_view token,
                                   std::int64_t now_s);
bool looks_sealed(std::string_view token);

/// What a request brought along.
struct Presented {
    std::string link;    ///< from the URL
    std::string header;  ///< from Berth-Preview-Token, or a sealed one in Authorization
    std::vector<std::string> cookies;
    bool authorization_is_ours = false;
    bool ambiguous = false;  ///< the same explicit credential twice
};
/// Takes the link out of `target`, wherever it stands in the query.
Presented presented(Fields const&, std::string& target);

enum class Verdict { open, by_link, by_header, by_cookie, missing, wrong };
struct Decision {
    Verdict verdict = Verdict::missing;
    std::int64_t expires_s = 0;  ///< 0: no end of its own
    bool admitted() const { return verdict <= Verdict::by_cookie; }
};
/// An explicit credential decides alone, right or wrong: a wrong one never falls back to the next; then a cookie; a
/// public preview needs none.
Decision decide(base::Secret const& key, Subject const&, bool is_public, Presented const&,
                std::int64_t now_s);

/// Set-Cookie for a visitor who came by link. In a frame of another site a browser gives back only what is
/// SameSite=None and, from now on, Partitioned; anywhere else Lax keeps other sites from acting in the
/// visitor's name. Browsers take Secure cookies from http://*.localhost too, and only from there.
std::string set_cookie(std::string const& token, std::int64_t max_age_s, bool secure, bool localhost,
                       bool framed);

}  // namespace preview
