#pragma once
#include <base/json.hpp>
#include <config/servers.hpp>

#include <string>
#include <vector>

namespace servers {

/// Takes a server's known secrets out of what it sends. Covers a value as it stands and in base64; a server
/// that wants to hide one from this can, so it is a net against accidents.
class Redactor {
  public:
    Redactor() = default;
    explicit Redactor(config::ServerEntry const& entry);
    /// A secret that was not configured, such as a token that was given.
    void hide(std::string const& name, base::Secret const& value);
    std::string text(std::string text) const;
    /// Every string in `value`, keys included. Returns how many places were redacted.
    std::size_t apply(base::Json& value) const;
    bool empty() const { return needles_.empty(); }

  private:
    void add(std::string const& name, std::string const& value);
    void sort();
    std::size_t replace(std::string& text) const;
    struct Needle {
        std::string name;
        base::Secret value;
    };
    std::vector<Needle> needles_;  ///< longest first
};

}  // namespace servers
