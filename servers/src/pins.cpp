#include "offer.hpp"

#include <base/hash.hpp>

#include <algorithm>

namespace servers {
namespace {

constexpr std::size_t kMaxDifferences = 20, kMaxShown = 400;

std::string whole(base::Json const& value) {
    return value.is_string() ? value.get<std::string>() : base::dump(value);
}

std::string shortened(std::string text, std::size_t from) {
    while (from > 0 && from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80) --from;
    if (from > 0) text = "..." + text.substr(std::min(from, text.size()));
    if (text.size() > kMaxShown) text = base::to_utf8(text.substr(0, kMaxShown)) + "...";
    return text;
}

std::vector<std::string> differences_of(base::Json const& before, base::Json const& after) {
    std::vector<std::string> out;
    auto const steps = base::Json::diff(before, after);
    for (auto const& step : steps) {
        if (out.size() == kMaxDifferences) {
            out.push_back("and " + std::to_string(steps.size() - kMaxDifferences) + " more, not shown");
            break;
        }
        auto const path = text_of(step, "path");
        auto const op = text_of(step, "op");
        auto const where = base::Json::json_pointer(path);
        auto line = path + ": ";
        bool const was = op != "add" && before.contains(where), is = op != "remove";
        auto const old = was ? whole(before.at(where)) : "", now = is ? whole(step["value"]) : "";
        std::size_t from = 0;  // what differs is shown, however far back it stands
        if (was && is && std::max(old.size(), now.size()) > kMaxShown)
            from = static_cast<std::size_t>(
                std::mismatch(old.begin(), old.end(), now.begin(), now.end()).first - old.begin());
        if (was) line += "was \"" + shortened(old, from) + '"';
        if (op == "replace") line += ", ";
        if (is) line += "now \"" + shortened(now, from) + '"';
        out.push_back(std::move(line));
    }
    return out;
}

}  // namespace

// nlohmann's objects keep their keys sorted, so that equal values have equal texts.
std::string pin_hash(base::Json const& tool) { return base::sha256_hex(base::dump(tool)); }

PinnedTools check_pins(std::string const& server, std::vector<base::Json> const& tools,
                       std::vector<registry::ToolPin> const& pins, bool first_use, std::int64_t now_ms) {
    PinnedTools out;
    for (auto const& tool : tools) {
        auto const name = text_of(tool, "name");
        auto const hash = pin_hash(tool);
        auto const pin =
            std::find_if(pins.begin(), pins.end(), [&](auto const& p) { return p.tool == name; });
        if (pin != pins.end() && pin->hash == hash) {
            out.offered.push_back(tool);
        } else if (pin == pins.end() && first_use) {
            out.offered.push_back(tool);
            out.first_seen.push_back({server, name, hash, tool, now_ms, "first use"});
        } else {
            bool const is_new = pin == pins.end();
            out.held.push_back(
                {name, is_new, hash, tool,
                 differences_of(is_new ? base::Json::object() : pin->definition, tool)});
        }
    }
    return out;
}

}  // namespace servers
