#pragma once
#include <base/result.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace workspace {

/// A file name pattern: `*` and `?` within a name, `**` across directories, `[a-z]`, `{a,b}`. Without a slash
/// it is matched against the name, else against the path. Runs as a regular expression in linear time,
/// whatever the pattern.
class Glob {
  public:
    static base::Result<Glob> compile(std::string_view pattern);  ///< errc::invalid, with the place
    Glob(Glob&&) noexcept;
    ~Glob();
    bool matches(std::string_view path) const;
    bool literal() const { return literal_; }      ///< no wildcard: it names a file
    bool names_part(std::string_view part) const;  ///< one of its components is exactly this

  private:
    Glob();
    std::unique_ptr<re2::RE2> regex_;
    std::string pattern_;
    bool by_name_ = false, literal_ = false;
};

}  // namespace workspace
