#include "refusals.hpp"

#include "clean.hpp"
#include <base/json.hpp>

#include <algorithm>

namespace servers {
namespace {

constexpr std::size_t kMaxHost = 253, kMaxReason = 200;  // RFC 1035

std::string cleaned(std::string const& text, std::size_t max) {
    std::size_t removed = 0;
    return visible_text(base::to_utf8(text.substr(0, max)), removed);
}

std::string list_of(std::vector<std::string> const& names) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i)
        out += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
    return out;
}

}  // namespace

void Refusals::add(std::string const& host, int port, std::string why) {
    Destination now{cleaned(host, kMaxHost) + ":" + std::to_string(port), cleaned(why, kMaxReason)};
    std::erase_if(last_, [&](Destination const& one) { return one.host == now.host; });
    last_.push_back(std::move(now));
    if (last_.size() > kMax) last_.erase(last_.begin());
}

std::string Refusals::hint() const {
    std::vector<std::string> not_allowed;
    std::string out;
    for (auto const& one : last_) {
        if (one.why.empty())
            not_allowed.push_back(one.host);
        else if (out.empty())
            out = "; it could not reach " + one.host + ": " + one.why;
    }
    if (not_allowed.empty()) return out;
    bool const many = not_allowed.size() > 1;
    return "; it tried " + list_of(not_allowed) + ", which " + (many ? "are" : "is") + " not allowed: add " +
           (many ? "what it needs of them" : "it") + " to sandbox.network.allowedDomains" + out;
}

}  // namespace servers
