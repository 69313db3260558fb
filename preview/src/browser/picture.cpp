#include "picture.hpp"

namespace preview {
namespace {

unsigned big_endian(std::string_view bytes, std::size_t at, std::size_t count) {
    unsigned n = 0;
    for (std::size_t i = 0; i < count; ++i) n = n << 8 | static_cast<unsigned char>(bytes[at + i]);
    return n;
}

/// PNG (RFC 2083): the signature, and the IHDR chunk, which comes first.
std::optional<PictureSize> png_size(std::string_view bytes) {
    if (bytes.size() < 24 || !bytes.starts_with("\x89PNG\r\n\x1a\n") || bytes.substr(12, 4) != "IHDR")
        return std::nullopt;
    return PictureSize{big_endian(bytes, 16, 4), big_endian(bytes, 20, 4)};
}

/// JPEG (ITU T.81): segments up to the first frame header, SOF0 to SOF2.
std::optional<PictureSize> jpeg_size(std::string_view bytes) {
    if (!bytes.starts_with("\xff\xd8")) return std::nullopt;
    for (std::size_t at = 2; at + 9 <= bytes.size();) {
        if (bytes[at] != '\xff') return std::nullopt;
        auto const marker = static_cast<unsigned char>(bytes[at + 1]);
        if (marker >= 0xc0 && marker <= 0xc2)
            return PictureSize{big_endian(bytes, at + 7, 2), big_endian(bytes, at + 5, 2)};
        at += 2 + big_endian(bytes, at + 2, 2);
    }
    return std::nullopt;
}

}  // namespace

std::optional<PictureSize> picture_size(std::string_view bytes) {
    auto const png = png_size(bytes);
    return png ? png : jpeg_size(bytes);
}

}  // namespace preview
