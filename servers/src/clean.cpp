#include "clean.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>

namespace servers {
namespace {

struct Range {
    std::uint32_t first, last;
};
// Unicode 15: Cc, Cf, Zl and Zp, variation selectors, tags, private use, noncharacters. Joiners are needed by
// some scripts and emoji, but a description can do without, and they can hide text.
constexpr Range kInvisible[] = {{0x00, 0x08},       {0x0B, 0x0C},       {0x0E, 0x1F},     {0x7F, 0x9F},
                                {0xAD, 0xAD},       {0x34F, 0x34F},     {0x600, 0x605},   {0x61C, 0x61C},
                                {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x115F, 0x1160}, {0x17B4, 0x17B5},
                                {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E}, {0x2060, 0x206F},
                                {0x3164, 0x3164},   {0xE000, 0xF8FF},   {0xFE00, 0xFE0E}, {0xFEFF, 0xFEFF},
                                {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF}, {0x1BCA0, 0x1BCA3},
                                {0x1D173, 0x1D17A}, {0xE0000, 0x10FFFF}};

bool invisible(std::uint32_t code) {
    auto const it = std::lower_bound(std::begin(kInvisible), std::end(kInvisible), code,
                                     [](Range const& range, std::uint32_t c) { return range.last < c; });
    return it != std::end(kInvisible) && it->first <= code;
}

}  // namespace

std::string visible_text(std::string_view given, std::size_t& removed) {
    bool const plain = std::all_of(given.begin(), given.end(), [](unsigned char c) {
        return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\t' || c == '\r';
    });
    if (plain) return std::string(given);
    auto const text = base::to_utf8(given);
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        auto const lead = static_cast<unsigned char>(text[i]);
        std::size_t const length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        std::uint32_t code = length == 1 ? lead : lead & (0xFFu >> (length + 1));
        for (std::size_t k = 1; k < length; ++k)
            code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
        if (invisible(code))
            ++removed;
        else
            out.append(text, i, length);
        i += length;
    }
    return out;
}

std::size_t make_visible(base::Json& value) {
    std::size_t removed = 0;
    if (value.is_string()) {
        auto& text = value.get_ref<std::string&>();
        text = visible_text(text, removed);
    } else if (value.is_array()) {
        for (auto& item : value) removed += make_visible(item);
    } else if (value.is_object()) {
        std::vector<std::string> hidden;
        for (auto const& [key, item] : value.items()) {
            std::size_t in_key = 0;
            if (visible_text(key, in_key); in_key > 0) hidden.push_back(key);
        }
        for (auto const& key : hidden) {
            auto item = std::move(value[key]);
            value.erase(key);
            value[visible_text(key, removed)] = std::move(item);
        }
        for (auto& [key, item] : value.items()) removed += make_visible(item);
    }
    return removed;
}

std::vector<std::string> suspicious_phrases(std::string_view text) {
    std::string low(text);
    for (char& c : low) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::vector<std::string> out;
    for (auto const* phrase :
         {"<important>", "ignore previous", "ignore all previous", "disregard previous",
          "do not tell the user", "don't tell the user", "without telling the user", "do not mention",
          "before using any other tool", "system prompt", "<secret", "id_rsa", ".ssh/"})
        if (low.find(phrase) != low.npos) out.push_back(phrase);
    return out;
}

}  // namespace servers
