#pragma once
#include <base/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace preview {

/// One preview's name: a port of a workspace.
struct Name {
    int port = 0;
    std::string workspace;
    bool operator==(Name const&) const = default;
};

/// Whether it can go into a request as it stands: begins with "/", visible ASCII, no fragment, at most 4096 bytes.
bool plain_path(std::string_view path);

/// Where previews are reached: "https://preview.example.com:8443" puts port 80 of workspace ws-x at
/// https://80-ws-x.preview.example.com:8443. Pure.
struct Names {
    std::string scheme = "http";
    std::string suffix = "localhost";
    std::uint16_t port = 80;

    /// errc::invalid says what was expected.
    static base::Result<Names> parse_url(std::string_view url);

    /// Whether a Host name lies below the suffix, in whatever spelling.
    bool serves(std::string_view host) const;
    /// Only the canonical spelling names anything: "<port>-<workspace>.<suffix>" in lower case, one label,
    /// the port in decimal without leading zeros.
    std::optional<Name> parse(std::string_view host) const;

    std::string host(Name const&) const;    ///< as in Host: with the port, unless it is the scheme's own
    std::string origin(Name const&) const;  ///< "http://5173-ws-x.localhost:7777"
    std::string origin(std::string_view domain) const;  ///< "https://shop.example.com"
    bool secure() const { return scheme == "https"; }
};

/// Names that the operator lets previews have beside their own: "shop.example.com", or "*.apps.example.com" for all
/// below it. Pure.
class Domains {
  public:
    explicit Domains(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}
    /// In whatever spelling.
    bool serves(std::string_view host) const;
    /// As `serves`, and in the one spelling that can be given away: lower case, neither a port nor an address.
    bool may_have(std::string_view domain) const;

  private:
    std::vector<std::string> patterns_;
};

}  // namespace preview
