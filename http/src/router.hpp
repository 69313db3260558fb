#pragma once
#include "gate.hpp"

#include <map>

namespace http {

/// The route table: an exact path first, then the longest prefix. Pure.
class Router {
  public:
    explicit Router(std::vector<Route>);

    /// All routes of the best matching path; null when there is none.
    std::vector<Route> const* find(std::string_view path) const;
    /// The one of them that takes the verb, or the 405.
    static boost::system::result<Route const*, Refusal> pick(std::vector<Route> const&, Verb);

  private:
    using Table = std::map<std::string, std::vector<Route>, std::less<>>;
    Table exact_;
    Table prefixes_;  ///< without the '*', so each ends in '/'
};

}  // namespace http
