#include "media_type.hpp"

#include <base/json.hpp>
#include <workspace/files.hpp>

#include <utility>

namespace host {
namespace {

// By extension, only for what is not text/plain or octets anyway.
constexpr std::pair<std::string_view, std::string_view> kText[] = {
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"py", "text/x-python"},
    {"svg", "image/svg+xml"},
    {"tsv", "text/tab-separated-values"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
};
constexpr std::pair<std::string_view, std::string_view> kBinary[] = {
    {"gz", "application/gzip"},   {"mp3", "audio/mpeg"}, {"mp4", "video/mp4"},   {"pdf", "application/pdf"},
    {"wasm", "application/wasm"}, {"wav", "audio/wav"},  {"webm", "video/webm"}, {"zip", "application/zip"},
};

template <class Table>
std::string by_extension(Table const& table, std::string_view path, char const* otherwise) {
    auto const name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
    auto const dot = name.rfind('.');
    auto const extension = dot == name.npos ? std::string_view{} : name.substr(dot + 1);
    for (auto const& [known, type] : table)
        if (known == extension) return std::string(type);
    return otherwise;
}

}  // namespace

MediaType media_type(std::string_view path, std::string_view bytes) {
    if (auto image = workspace::image_type_of(bytes); !image.empty()) return {std::move(image), false};
    bool const text = bytes.find('\0') == bytes.npos && base::valid_utf8(bytes);
    if (text) return {by_extension(kText, path, "text/plain"), true};
    return {by_extension(kBinary, path, "application/octet-stream"), false};
}

}  // namespace host
