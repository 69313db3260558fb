#include "resource_uri.hpp"

#include <base/beneath.hpp>

namespace host {
namespace {

using base::errc;
using base::error;

constexpr std::string_view kRoot = "berth://workspaces/";
constexpr std::size_t kMaxUri = 3 * base::Beneath::kMaxPath + 300;  // every byte of a path escaped
constexpr std::size_t kMaxId = 100;
constexpr char kHex[] = "0123456789ABCDEF";

bool alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 3986: what a path may hold unescaped.
bool is_pchar(char c) {
    return alphanumeric(c) ||
           (c != '\0' && std::string_view("-._~!$&'()*+,;=:@").find(c) != std::string_view::npos);
}

bool is_id(std::string_view text) {
    if (text.empty() || text.size() > kMaxId) return false;
    for (char const c : text)
        if (!alphanumeric(c) && c != '-') return false;
    return true;
}

int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

base::Error ill_formed(std::string why) { return error(errc::invalid, "this URI is ill-formed: " + why); }

base::Error unknown() {
    return error(errc::not_found,
                 "resources are berth://workspaces/ID, .../ID/files/PATH and .../ID/processes/PROCESS_ID");
}

base::Result<std::string> decode(std::string_view segment) {
    std::string out;
    for (std::size_t i = 0; i < segment.size(); ++i) {
        if (segment[i] != '%') {
            out += segment[i];
            continue;
        }
        int const high = i + 2 < segment.size() ? hex(segment[i + 1]) : -1;
        int const low = i + 2 < segment.size() ? hex(segment[i + 2]) : -1;
        if (high < 0 || low < 0) return ill_formed("\"%\" takes two hexadecimal digits");
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    if (out.find('\0') != out.npos) return ill_formed("a path holds no zero byte");
    if (out.find('/') != out.npos) return ill_formed("a file's name holds no \"/\", so %2F stands for none");
    if (out == "." || out == "..") return ill_formed("\".\" and \"..\" are no parts of a path");
    return out;
}

base::Result<std::string> file_path(std::string_view rest) {
    std::string path;
    bool const absolute = rest.starts_with('/');
    if (absolute) rest.remove_prefix(1);
    if (rest.ends_with('/')) rest.remove_suffix(1);
    for (bool more = !rest.empty() || absolute; more;) {
        auto const end = rest.find('/');
        more = end != rest.npos;
        auto const segment = rest.substr(0, end);
        if (more) rest.remove_prefix(end + 1);
        if (segment.empty()) return ill_formed("a path has no empty parts");
        auto name = decode(segment);
        if (!name) return name.error();
        if (!path.empty()) path += '/';
        path += *name;
    }
    if (path.size() > base::Beneath::kMaxPath) return ill_formed("the path is too long");
    if (!absolute) return path.empty() ? std::string(".") : path;
    auto const below = [&](std::string_view directory) {
        return path == directory || (path.starts_with(directory) && path[directory.size()] == '/');
    };
    constexpr std::string_view workspace = "workspace", home = "home/agent";
    if (below(workspace)) return path == workspace ? std::string(".") : path.substr(workspace.size() + 1);
    if (below(home)) return "~" + path.substr(home.size());
    return unknown();
}

}  // namespace

base::Result<ResourceUri> parse_resource_uri(std::string_view uri) {
    if (uri.size() > kMaxUri) return ill_formed("it is too long");
    for (char const c : uri) {
        if (c == '?' || c == '#')
            return ill_formed("it has no query and no fragment; in a path write %3F and %23");
        if (!is_pchar(c) && c != '/' && c != '%')
            return ill_formed("spaces, \"[\", \"]\" and what is not ASCII are escaped with %");
    }
    if (!uri.starts_with(kRoot)) return unknown();
    auto rest = uri.substr(kRoot.size());
    ResourceUri out;
    auto const id_end = rest.find('/');
    auto const id = rest.substr(0, id_end);
    if (!is_id(id)) return unknown();
    out.workspace = id;
    if (id_end == rest.npos) return out;
    rest.remove_prefix(id_end + 1);

    auto const kind_end = rest.find('/');
    auto const kind = rest.substr(0, kind_end);
    if (kind_end == rest.npos) return unknown();
    rest.remove_prefix(kind_end + 1);
    if (kind == "files") {
        out.kind = ResourceUri::Kind::file;
        auto path = file_path(rest);
        if (!path) return path.error();
        out.path = std::move(*path);
        return out;
    }
    if (kind != "processes" || !is_id(rest)) return unknown();
    out.kind = ResourceUri::Kind::process;
    out.process = rest;
    return out;
}

std::string workspace_uri(std::string_view id) { return std::string(kRoot).append(id); }

std::string file_uri(std::string_view id, std::string_view path) {
    auto out = workspace_uri(id) + "/files/";
    if (path == ".") return out;
    for (char const c : path) {
        if (is_pchar(c) || c == '/') {
            out += c;
        } else {
            out += '%';
            out += kHex[static_cast<unsigned char>(c) >> 4];
            out += kHex[static_cast<unsigned char>(c) & 15];
        }
    }
    return out;
}

}  // namespace host
