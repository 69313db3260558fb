#pragma once
#include <base/json.hpp>
#include <base/result.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace config {

/// JSON as people write it in configuration: comments and trailing commas allowed, and every value knows its
/// place.
struct JsonNode {
    enum class Kind { null, boolean, number, string, array, object };
    struct Member;

    Kind kind = Kind::null;
    int line = 1;
    std::size_t begin = 0, end = 0;  ///< of its text
    bool flag = false;
    double number = 0;
    std::string text;  ///< of a string; of a number, as written
    std::vector<JsonNode> items;
    std::vector<Member> members;

    bool is(Kind k) const { return kind == k; }
    JsonNode const* find(std::string_view key) const;
};

struct JsonNode::Member {
    std::string key;
    int line = 1;
    JsonNode value;
};

/// Words of a file in a message: UTF-8, on one line, "?" for each control character.
std::string on_one_line(std::string_view text);

/// One document of at most 1 MiB and 32 levels. Errors: errc::invalid as "NAME:LINE: what was expected".
base::Result<JsonNode> parse_json_config(std::string_view text, std::string const& name);

}  // namespace config
