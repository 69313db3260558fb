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

/// One change a line, up to a bound; in time that grows with the two values and no faster, whatever a server makes of them.
class Differences {
  public:
    std::vector<std::string> take() && {
        if (more_ > 0) lines_.push_back("and " + std::to_string(more_) + " more, not shown");
        return std::move(lines_);
    }

    void compare(std::string const& path, base::Json const& was, base::Json const& is) {
        if (was.is_object() && is.is_object()) {
            for (auto const& [key, value] : was.items()) {
                auto const it = is.find(key);
                if (it == is.end())
                    changed(path, key, &value, nullptr);
                else if (*it != value)
                    compare(below(path, key), value, *it);
            }
            for (auto const& [key, value] : is.items())
                if (!was.contains(key)) changed(path, key, nullptr, &value);
        } else if (was.is_array() && is.is_array()) {
            for (std::size_t i = 0; i < std::max(was.size(), is.size()); ++i) {
                if (i >= was.size())
                    changed(path, std::to_string(i), nullptr, &is[i]);
                else if (i >= is.size())
                    changed(path, std::to_string(i), &was[i], nullptr);
                else if (was[i] != is[i])
                    compare(below(path, std::to_string(i)), was[i], is[i]);
            }
        } else if (was != is) {
            line(path, &was, &is);
        }
    }

  private:
    static std::string below(std::string const& path, std::string const& key) {
        return shortened(path, 0) + "/" + shortened(key, 0);
    }
    void changed(std::string const& path, std::string const& key, base::Json const* was, base::Json const* is) {
        if (full())
            ++more_;
        else
            line(below(path, key), was, is);
    }
    bool full() const { return lines_.size() >= kMaxDifferences; }

    void line(std::string const& path, base::Json const* was, base::Json const* is) {
        if (full()) {
            ++more_;
            return;
        }
        auto const old = was ? whole(*was) : "", now = is ? whole(*is) : "";
        std::size_t from = 0;  // what differs is shown, however far back it stands
        if (was && is && std::max(old.size(), now.size()) > kMaxShown)
            from = static_cast<std::size_t>(
                std::mismatch(old.begin(), old.end(), now.begin(), now.end()).first - old.begin());
        auto text = path + ": ";
        if (was) text += "was \"" + shortened(old, from) + '"';
        if (was && is) text += ", ";
        if (is) text += "now \"" + shortened(now, from) + '"';
        lines_.push_back(std::move(text));
    }

    std::vector<std::string> lines_;
    std::size_t more_ = 0;
};

std::vector<std::string> differences_of(base::Json const& before, base::Json const& after) {
    Differences out;
    out.compare("", before, after);
    return std::move(out).take();
}

}  // namespace

// nlohmann's objects keep their keys sorted, so that equal values have equal texts.
std::string pin_hash(base::Json const& tool) { return base::sha256_hex(base::dump(tool)); }

std::string held_hash(std::vector<HeldTool> const& held) {
    if (held.empty()) return {};
    auto hashes = base::Json::array();
    for (auto const& tool : held) hashes.push_back(tool.hash);
    std::sort(hashes.begin(), hashes.end());  // a server may list them in another order
    return base::sha256_hex(base::dump(hashes));
}

bool is_first_use(std::vector<registry::ToolPin> const& pins, std::optional<registry::ServerOffer> const& seen) {
    return pins.empty() && (!seen || offer_from(seen->offer).tools.empty());
}

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
