#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace preview {

struct PictureSize {
    unsigned width = 0, height = 0;
};
/// Of a PNG or JPEG by its header; nothing when it is neither.
std::optional<PictureSize> picture_size(std::string_view bytes);

}  // namespace preview
