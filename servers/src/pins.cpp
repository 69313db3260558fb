#include "pins.hpp"

#include <base/hash.hpp>

#include <algorithm>

namespace servers {
namespace {

constexpr std::size_t kMaxDifferences = 20, kMaxShown = 400;

base::Json pinned_parts(base::Json const& tool) {
    base::Json out = base::Json::object();
    for (auto const* name : {"name", "title", "description", "inputSchema", "outputSchema", "annotations"})
        if (auto const it = tool.find(name); it != tool.end()) out[name] = *it;
    return out;
}

std::string shortened(base::Json const& value) {
    auto text = value.is_string() ? value.get<std::string>() : base::dump(value);
    if (text.size() > kMaxShown) text = base::to_utf8(text.substr(0, kMaxShown)) + "...";
    return text;
}

std::vector<std::string> differences_of(base::Json const& before, base::Json const& after) {
    std::vector<std::string> out;
    for (auto const& step : base::Json::diff(before, after)) {
        if (out.size() == kMaxDifferences) {
            out.push_back("and more");
            break;
        }
        auto const path = step.value("path", "");
        auto const op = step.value("op", "");
        auto const where = base::Json::json_pointer(path);
        auto line = path + ": ";
        if (op != "add" && before.contains(where)) line += "was \"" + shortened(before.at(where)) + '"';
        if (op == "replace") line += ", ";
        if (op != "remove") line += "now \"" + shortened(step["value"]) + '"';
        out.push_back(std::move(line));
    }
    return out;
}

}  // namespace

// nlohmann's objects keep their keys sorted, so that equal values have equal texts.
std::string pin_hash(base::Json const& tool) { return base::sha256_hex(base::dump(pinned_parts(tool))); }

PinnedTools check_pins(std::string const& server, std::vector<base::Json> const& tools,
                       std::vector<registry::ToolPin> const& pins, bool first_use, std::int64_t now_ms) {
    PinnedTools out;
    for (auto const& tool : tools) {
        auto const name = tool.value("name", "");
        auto const hash = pin_hash(tool);
        auto const pin =
            std::find_if(pins.begin(), pins.end(), [&](auto const& p) { return p.tool == name; });
        if (pin != pins.end() && pin->hash == hash) {
            out.offered.push_back(tool);
        } else if (pin == pins.end() && first_use) {
            out.offered.push_back(tool);
            out.first_seen.push_back({server, name, hash, pinned_parts(tool), now_ms, "first use"});
        } else {
            bool const is_new = pin == pins.end();
            auto const parts = pinned_parts(tool);
            out.held.push_back(
                {name, is_new, hash, parts,
                 differences_of(is_new ? base::Json::object() : pinned_parts(pin->definition), parts)});
        }
    }
    return out;
}

}  // namespace servers
