#include "../keys.hpp"
#include "entry.hpp"

#include <boost/asio/ip/address.hpp>

#include <cctype>
#include <charconv>
#include <filesystem>

// What VS Code can refuse on top of what it allows. Here nothing is allowed that was not named, so a refusal is kept by
// itself, unless something that was allowed opens it: then it is a mistake, and never quietly missing.
namespace config::servers_json {
namespace {

namespace asio = boost::asio;
using Refused = EntryReader::Refused;

std::string plain_path(std::string const& path) {
    auto text = std::filesystem::path(path).lexically_normal().string();
    while (text.size() > 1 && text.ends_with('/')) text.pop_back();
    return text;
}

bool within(std::string const& path, std::string const& root) {
    return path == root || path.starts_with(root == "/" ? root : root + "/");
}

/// "" or why the refusal would not be kept.
std::string opened_path(ServerEntry::Sandbox const& s, Refused const& refused, std::string const& path) {
    auto const open = [&](std::vector<std::string> const& allowed, char const* key, bool exceptions) -> std::string {
        for (auto const& one : allowed) {
            auto const root = plain_path(one);
            if (within(path, root))
                return "expected nothing that lies within what is allowed: narrow the allowed list instead of refusing " +
                       refused.text;
            if (!exceptions && within(root, path))
                return std::string("expected nothing around what ") + key + " names: " + one + " lies within " + refused.text;
        }
        return {};
    };
    if (!s.workspace.empty() && within(path, "/workspace"))
        return "expected nothing within /workspace, all of which sandbox.workspace opens: " + refused.text;
    // As in VS Code, allowRead names what is readable within a place that is not. Nothing else is an exception.
    if (refused.key.ends_with("denyRead"))
        if (auto why = open(s.allow_read, "allowRead", true); !why.empty()) return why;
    return open(s.allow_write, "allowWrite", false);
}

/// A host pattern as the egress policy takes it: without a port it stands for 80 and 443.
struct Hosts {
    std::string host;  ///< "" = any
    bool below = false;
    int port = 0;
};

Hosts hosts_of(std::string const& pattern) {
    Hosts out;
    std::string_view rest = pattern;
    auto const bracket = rest.rfind(']'), colon = rest.rfind(':');
    bool const has_port = colon != rest.npos && (bracket == rest.npos ? rest.find(':') == colon : colon > bracket);
    if (has_port) {
        std::from_chars(rest.data() + colon + 1, rest.data() + rest.size(), out.port);
        rest = rest.substr(0, colon);
    }
    if (rest == "*") {
        out.below = true;
        return out;
    }
    if (rest.starts_with("*.")) out.below = true, rest.remove_prefix(2);
    if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
    for (char const c : rest) out.host += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    while (out.host.ends_with('.')) out.host.pop_back();
    boost::system::error_code none;
    if (auto const address = asio::ip::make_address(out.host, none); !none) out.host = address.to_string();
    return out;
}

bool meet(Hosts const& refused, Hosts const& allowed) {
    // Without a port, a refusal is of every port.
    if (refused.port != 0 && (allowed.port == 0 ? refused.port != 80 && refused.port != 443 : refused.port != allowed.port))
        return false;
    auto const covers = [](Hosts const& wide, Hosts const& narrow) {
        if (!wide.below) return !narrow.below && wide.host == narrow.host;
        if (wide.host.empty() || (narrow.below && wide.host == narrow.host)) return true;
        return narrow.host.ends_with("." + wide.host);
    };
    return covers(refused, allowed) || covers(allowed, refused);
}

std::string opened_host(ServerEntry::Sandbox const& s, std::string const& pattern) {
    if (s.allowed_domains.empty()) return {};
    if (auto const wrong = check_pattern(pattern); !wrong.empty()) return wrong + ", not \"" + pattern.substr(0, 60) + '"';
    for (auto const& allowed : s.allowed_domains)
        if (meet(hosts_of(pattern), hosts_of(allowed)))
            return "expected nothing that is allowed too: narrow " + allowed + " in allowedDomains instead of refusing " + pattern;
    return {};
}

}  // namespace

void check_refused(EntryReader& r) {
    auto const& e = r.entry;
    auto const& s = e.sandbox;
    for (auto const& refused : r.refused) {
        std::string why;
        if (e.kind == ServerEntry::Kind::stdio && e.isolation == ServerEntry::Isolation::host_insecure) {
            why = "expected isolation: sandbox, since nothing is refused to a server outside any sandbox";
        } else if (refused.key.ends_with("deniedDomains")) {
            why = opened_host(s, refused.text);
        } else if (!s.allow_read.empty() || !s.allow_write.empty() || !s.workspace.empty()) {
            auto path = refused.text;
            if (path == "~" || path.starts_with("~/"))
                path = r.scope.variables.environment("HOME").value_or("/root") + path.substr(1);
            bool const plain = path.starts_with('/') && path.find_first_of("*?[{") == path.npos;
            why = plain ? opened_path(s, refused, plain_path(path))
                        : "expected absolute paths without wildcards beside what is allowed, not \"" + refused.text.substr(0, 100) + '"';
        }
        if (!why.empty()) return r.mistake(refused.line, refused.key, why);
    }
}

}  // namespace config::servers_json
