#pragma once
#include <base/json.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace servers {

/// What clients see of a server's tool or prompt: `server__tool`. A pure function of its arguments, so that a
/// name never moves because another server came or went. Letters, digits, hyphen and underscore only, at most
/// `limit` (20 to 64) long; what had to be changed or cut ends in six digits of a hash, so that it stays one
/// name for one tool.
std::string public_name(std::string_view server, std::string_view tool, std::size_t limit);

/// * stands for any characters.
bool matches_pattern(std::string_view pattern, std::string_view name);

/// Several things that claim one public name: none of them gets it.
struct Collision {
    std::string name;
    std::vector<std::string> claimants;  ///< "server/tool"
};

/// Takes claims, and finds who stands alone.
class NameTable {
  public:
    void claim(std::string name, std::string claimant) {
        claims_[std::move(name)].push_back(std::move(claimant));
    }
    bool sole(std::string const& name) const {
        auto const it = claims_.find(name);
        return it != claims_.end() && it->second.size() == 1;
    }
    std::vector<Collision> collisions() const;

  private:
    std::map<std::string, std::vector<std::string>> claims_;
};

}  // namespace servers
