#include "utf8.hpp"

#include <base/json.hpp>

#include <cstdint>
#include <cstring>

namespace base {

std::size_t ascii_run(std::string_view s) {
    std::size_t n = 0;
    for (std::uint64_t eight = 0; n + sizeof eight <= s.size(); n += sizeof eight) {
        std::memcpy(&eight, s.data() + n, sizeof eight);
        if (eight & 0x8080'8080'8080'8080u) break;
    }
    while (n < s.size() && static_cast<unsigned char>(s[n]) < 0x80) ++n;
    return n;
}

std::size_t sequence_length(std::string_view s) {
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    auto const tail = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
        return i < s.size() && byte(i) >= low && byte(i) <= high;
    };
    unsigned char const b = byte(0);
    if (b < 0x80) return 1;
    if (b >= 0xC2 && b <= 0xDF) return tail(1) ? 2 : 0;
    if (b >= 0xE0 && b <= 0xEF)
        return tail(1, b == 0xE0 ? 0xA0 : 0x80, b == 0xED ? 0x9F : 0xBF) && tail(2) ? 3 : 0;
    if (b >= 0xF0 && b <= 0xF4)
        return tail(1, b == 0xF0 ? 0x90 : 0x80, b == 0xF4 ? 0x8F : 0xBF) && tail(2) && tail(3) ? 4 : 0;
    return 0;
}

bool valid_utf8(std::string_view s) {
    for (s.remove_prefix(ascii_run(s)); !s.empty(); s.remove_prefix(ascii_run(s))) {
        auto const n = sequence_length(s);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

std::string to_utf8(std::string_view s) {
    std::string out;
    out.reserve(s.size());
    while (!s.empty()) {
        auto const plain = ascii_run(s);
        out.append(s.substr(0, plain));
        s.remove_prefix(plain);
        if (s.empty()) break;
        auto const n = sequence_length(s);
        if (n == 0) {
            out += "\xEF\xBF\xBD";
            s.remove_prefix(1);
        } else {
            out.append(s.substr(0, n));
            s.remove_prefix(n);
        }
    }
    return out;
}

}  // namespace base
