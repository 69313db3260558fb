#include "terminal.hpp"

#include <base/json.hpp>

#include <spdlog/pattern_formatter.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace host {
namespace {

/// How many bytes of UTF-8 at `at` are one character that a terminal obeys; 0 for others.
std::size_t obeyed(std::string_view text, std::size_t at) {
    auto const byte = [&](std::size_t k) { return at + k < text.size() ? static_cast<unsigned char>(text[at + k]) : 0u; };
    if (byte(0) < 0x20 || byte(0) == 0x7f) return 1;
    // U+0080 to U+009F: CSI and others in one character (ECMA-48, 5.3).
    if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) <= 0x9f) return 2;
    if (byte(0) == 0xd8 && byte(1) == 0x9c) return 2;  // U+061C, a mark of direction as those below
    if (byte(0) != 0xe2) return 0;
    // U+200E, U+200F, U+2028 to U+202E, and U+2066 to U+2069.
    bool const marks = byte(1) == 0x80 && (byte(2) == 0x8e || byte(2) == 0x8f || (byte(2) >= 0xa8 && byte(2) <= 0xae));
    bool const isolates = byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9;
    return marks || isolates ? 3 : 0;
}

std::string made_plain(std::string_view given, bool lines) {
    auto const text = base::to_utf8(given);
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        auto const length = obeyed(text, at);
        bool const kept = length == 0 || (lines && (text[at] == '\n' || text[at] == '\t'));
        out += kept ? text[at] : '?';
        at += kept ? 1 : length;
    }
    return out;
}

class PlainMessage final : public spdlog::custom_flag_formatter {
  public:
    void format(spdlog::details::log_msg const& message, std::tm const&, spdlog::memory_buf_t& to) override {
        auto const text = plain({message.payload.data(), message.payload.size()});
        to.append(text.data(), text.data() + text.size());
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PlainMessage>(); }
};

}  // namespace

std::string padded(std::string text, std::size_t width) {
    if (text.size() < width) text.resize(width, ' ');
    return text;
}

std::string plain(std::string_view text) { return made_plain(text, false); }

std::string plain_lines(std::string_view text) { return made_plain(text, true); }

void log_plainly() {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<PlainMessage>('*').set_pattern("[%Y-%m-%d %H:%M:%S.%e] [%n] [%^%l%$] %*");  // as it is by default
    spdlog::set_formatter(std::move(formatter));
}

}  // namespace host
