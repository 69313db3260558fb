#include "wire.hpp"

#include <boost/beast/core/string.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace http::wire {

using Field = beast::http::field;

Scan scan_head(std::string_view bytes, std::size_t from) {
    // A request starts with a method. Anything else, a TLS greeting above all, need not wait for its end.
    if (!bytes.empty() && !std::isalpha(static_cast<unsigned char>(bytes[0]))) return {Scan::malformed, 0};
    while (from < bytes.size()) {
        // A folded line (RFC 9112, 5.2): some readers join it to the one before, others take it as a field.
        if (from > 0 && bytes[from - 1] == '\n' && (bytes[from] == ' ' || bytes[from] == '\t'))
            return {Scan::malformed, 0};
        auto const at = bytes.find('\n', from);
        if (at == std::string_view::npos) break;
        if (at == 0 || bytes[at - 1] != '\r') return {Scan::malformed, 0};
        if (at >= 3 && bytes.substr(at - 3, 4) == "\r\n\r\n") return {Scan::complete, at + 1};
        from = at + 1;
    }
    return {Scan::partial, bytes.size()};
}

char const* framing_fault(Fields const& fields, unsigned version, std::string_view target) {
    if (!target.starts_with('/')) return "the target must be a path";
    if (target.find('#') != std::string_view::npos) return "the target must not have a fragment";
    if (fields.count(Field::host) > 1) return "exactly one Host is required";
    if (fields.count(Field::content_length) > 1) return "repeated Content-Length";
    if (fields[Field::content_length].find(',') != std::string_view::npos) return "repeated Content-Length";
    if (auto const coding = fields.find(Field::transfer_encoding); coding != fields.end()) {
        if (version < 11) return "Transfer-Encoding in an old request";
        if (fields.count(Field::transfer_encoding) > 1 || !beast::iequals(coding->value(), "chunked"))
            return "unsupported Transfer-Encoding";
        if (fields.count(Field::content_length)) return "both Content-Length and Transfer-Encoding";
    }
    return nullptr;
}

namespace {

/// All but what frames the message, which is its sender's own to say.
base::Status append_fields(std::string& out, Fields const& fields) {
    constexpr std::string_view breakers("\r\n\0", 3);
    for (auto const& field : fields) {
        auto const name = field.name();
        if (name == Field::content_length || name == Field::transfer_encoding || name == Field::connection)
            continue;
        std::string_view const label = field.name_string(), value = field.value();
        if (label.find_first_of(breakers) != label.npos || value.find_first_of(breakers) != value.npos)
            return base::error(base::errc::invalid, "a field holds a line break");
        out.append(label).append(": ").append(value).append("\r\n");
    }
    return {};
}

void append_framing(std::string& out, Framing framing, std::uint64_t length) {
    if (framing == Framing::length)
        out.append("Content-Length: ").append(std::to_string(length)).append("\r\n");
    if (framing == Framing::chunked) out += "Transfer-Encoding: chunked\r\n";
}

}  // namespace

base::Result<std::string> head(Status status, Fields const& fields, Framing framing, std::uint64_t length,
                               bool keep_alive) {
    std::string out;
    out.reserve(256);
    out += "HTTP/1.1 ";
    out += std::to_string(static_cast<unsigned>(status));
    out += ' ';
    out += std::string_view(beast::http::obsolete_reason(status));
    out += "\r\n";
    if (auto s = append_fields(out, fields); !s) return s.error();
    append_framing(out, framing, length);
    if (framing == Framing::upgrade)
        out += "Connection: Upgrade\r\n\r\n";
    else
        out += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    return out;
}

base::Result<std::string> request_head(std::string_view method, std::string_view target, Fields const& fields,
                                       Framing framing, std::uint64_t length) {
    auto const breaks = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; };
    if (method.empty() || std::any_of(method.begin(), method.end(), breaks) || !target.starts_with('/') ||
        std::any_of(target.begin(), target.end(), breaks))
        return base::error(base::errc::invalid, "a method or target that no request line can hold");
    std::string out;
    out.reserve(512);
    out.append(method).append(" ").append(target).append(" HTTP/1.1\r\n");
    if (auto s = append_fields(out, fields); !s) return s.error();
    append_framing(out, framing, length);
    if (fields.count(Field::upgrade)) out += "Connection: Upgrade\r\n";
    out += "\r\n";
    return out;
}

bool too_many_fields(Fields const& fields) {
    constexpr std::ptrdiff_t max_fields = 256;
    return std::distance(fields.begin(), fields.end()) > max_fields;
}

char const* answer_fault(Fields const& fields, unsigned version) {
    if (too_many_fields(fields)) return "too many header fields";
    if (fields.count(Field::content_length) > 1) return "repeated Content-Length";
    if (auto const coding = fields.find(Field::transfer_encoding); coding != fields.end()) {
        if (version < 11) return "Transfer-Encoding in an old answer";
        if (fields.count(Field::transfer_encoding) > 1 || !beast::iequals(coding->value(), "chunked"))
            return "unsupported Transfer-Encoding";
        if (fields.count(Field::content_length)) return "both Content-Length and Transfer-Encoding";
    }
    return nullptr;
}

}  // namespace http::wire
