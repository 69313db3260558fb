#include "fixtures.hpp"

namespace fixtures {
namespace {

constexpr std::string_view kTemplatePrefix = "test://template/", kTemplateSuffix = "/data";

Json described(char const* uri, char const* name, char const* type) {
    return {{"uri", uri}, {"name", name}, {"description", name}, {"mimeType", type}};
}

Json text(std::string const& uri, std::string content, char const* type = "text/plain") {
    Json const one{{"uri", uri}, {"mimeType", type}, {"text", std::move(content)}};
    return Json::array({one});
}

Task<mcp::Page> list(std::string, Call&) {
    mcp::Page page;
    page.items.push_back(described("test://static-text", "Static text", "text/plain"));
    page.items.push_back(described("test://static-binary", "Static image", "image/png"));
    page.items.push_back(described("test://watched-resource", "Watched resource", "text/plain"));
    co_return page;
}

Task<Json> templates(Call&) {
    Json const one{{"uriTemplate", "test://template/{id}/data"},
                   {"name", "Template"},
                   {"description", "Data by id"},
                   {"mimeType", "application/json"}};
    co_return Json::array({one});
}

Task<std::optional<Json>> read(std::string uri, Call&) {
    std::optional<Json> out;
    if (uri == "test://static-text") out = text(uri, "This is the content of the static text resource.");
    if (uri == "test://watched-resource") out = text(uri, "Watched.");
    if (uri == "test://static-binary") {
        Json const one{{"uri", uri}, {"mimeType", "image/png"}, {"blob", kPng}};
        out = Json::array({one});
    }
    std::string_view rest = uri;
    if (rest.starts_with(kTemplatePrefix) && rest.ends_with(kTemplateSuffix) &&
        rest.size() > kTemplatePrefix.size() + kTemplateSuffix.size()) {
        rest.remove_prefix(kTemplatePrefix.size());
        rest.remove_suffix(kTemplateSuffix.size());
        Json const data{{"id", rest}, {"templateTest", true}};
        out = text(uri, base::dump(data), "application/json");
    }
    co_return out;
}

}  // namespace

mcp::Resources resources() { return {list, templates, read}; }

}  // namespace fixtures
