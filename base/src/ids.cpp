#include <base/ids.hpp>

#include <sys/random.h>

#include <cerrno>
#include <stdexcept>

namespace base {

std::string random_bytes(std::size_t bytes) {
    std::string out(bytes, '\0');
    std::size_t done = 0;
    while (done < bytes) {
        auto const n = ::getrandom(out.data() + done, bytes - done, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw std::runtime_error("getrandom failed");   // no kernel we support does
        done += static_cast<std::size_t>(n);
    }
    return out;
}

std::string random_id(std::size_t bytes) {
    static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    std::string out;
    unsigned buffer = 0;
    int bits = 0;
    for (unsigned char const byte : random_bytes(bytes)) {
        buffer = (buffer << 8 | byte) & 0xffff;
        bits += 8;
        for (; bits >= 5; bits -= 5) out += kAlphabet[buffer >> (bits - 5) & 31];
    }
    if (bits > 0) out += kAlphabet[buffer << (5 - bits) & 31];
    return out;
}

bool constant_time_equal(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    unsigned char difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
    return difference == 0;
}

}  // namespace base
