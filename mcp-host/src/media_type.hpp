#pragma once
#include <string>
#include <string_view>

namespace host {

struct MediaType {
    std::string name;
    bool text = false;  ///< UTF-8 without zero bytes: can be shown as it is
};

/// What a file is: images by their content, other files by content and name. A name alone makes nothing text.
MediaType media_type(std::string_view path, std::string_view bytes);

}  // namespace host
