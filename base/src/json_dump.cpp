// Most of what an answer with a file in it costs is writing its text as JSON. The library's own writer looks
// at each byte as a step of a UTF-8 automaton; here what needs no escape is found eight bytes at a time and
// copied as a whole.
#include "utf8.hpp"
#include <base/json.hpp>

#include <charconv>
#include <cstdint>
#include <cstring>
#include <utility>

namespace base {
namespace {

constexpr std::uint64_t kEach = 0x0101'0101'0101'0101u, kHigh = 0x80 * kEach;

/// Not zero when one of the eight is a control character, a quote, a backslash or not ASCII.
std::uint64_t unlike_text(std::uint64_t eight) {
    auto const has_zero = [](std::uint64_t v) { return (v - kEach) & ~v & kHigh; };
    return (eight & kHigh) | ((eight - 0x20 * kEach) & ~eight & kHigh) | has_zero(eight ^ ('"' * kEach)) |
           has_zero(eight ^ ('\\' * kEach));
}

bool is_text(char c) {
    return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x80 && c != '"' &&
           c != '\\';
}

std::size_t text_run(std::string_view s) {
    std::size_t n = 0;
    for (std::uint64_t eight = 0; n + sizeof eight <= s.size(); n += sizeof eight) {
        std::memcpy(&eight, s.data() + n, sizeof eight);
        if (unlike_text(eight)) break;
    }
    while (n < s.size() && is_text(s[n])) ++n;
    return n;
}

void write_escape(std::string& out, char c) {
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\b':
            out += "\\b";
            return;
        case '\f':
            out += "\\f";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            break;
    }
    constexpr char const* kDigits = "0123456789abcdef";
    out += "\\u00";
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
}

void write_string(std::string& out, std::string_view s) {
    out += '"';
    while (true) {
        auto const plain = text_run(s);
        out.append(s.substr(0, plain));
        s.remove_prefix(plain);
        if (s.empty()) break;
        std::size_t taken = 1;
        if (static_cast<unsigned char>(s.front()) < 0x80) {
            write_escape(out, s.front());
        } else if (auto const n = sequence_length(s); n > 0) {
            out.append(s.substr(0, taken = n));
        } else {
            out += "\xEF\xBF\xBD";
        }
        s.remove_prefix(taken);
    }
    out += '"';
}

template <class Integer>
void write_integer(std::string& out, Integer value) {
    char digits[24];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void write(std::string& out, Json const& value) {
    char const* between = "";
    switch (value.type()) {
        case Json::value_t::object:
            out += '{';
            for (auto const& [key, member] : value.get_ref<Json::object_t const&>()) {
                out += std::exchange(between, ",");
                write_string(out, key);
                out += ':';
                write(out, member);
            }
            out += '}';
            return;
        case Json::value_t::array:
            out += '[';
            for (auto const& member : value.get_ref<Json::array_t const&>()) {
                out += std::exchange(between, ",");
                write(out, member);
            }
            out += ']';
            return;
        case Json::value_t::string:
            return write_string(out, value.get_ref<std::string const&>());
        case Json::value_t::boolean:
            out += value.get<bool>() ? "true" : "false";
            return;
        case Json::value_t::number_integer:
            return write_integer(out, value.get<std::int64_t>());
        case Json::value_t::number_unsigned:
            return write_integer(out, value.get<std::uint64_t>());
        default:
            out += value.dump();  // the library knows how to write a fraction; null
    }
}

}  // namespace

std::string dump(Json const& value) {
    std::string out;
    write(out, value);
    return out;
}

}  // namespace base
