#pragma once
#include <string>
#include <vector>

namespace servers {

/// Where a server wanted to go in this run and did not get: the last few, each once, for people. The names
/// are the server's own words, and are cleaned and cut.
class Refusals {
  public:
    struct Destination {
        std::string host;  ///< with its port
        std::string why;   ///< "": it is not allowed
    };
    /// `why` "": the host is not in sandbox.network.allowedDomains.
    void add(std::string const& host, int port, std::string why);
    void clear() { last_.clear(); }
    std::vector<Destination> const& last() const { return last_; }
    /// "; it tried ...", "" when there is nothing to say.
    std::string hint() const;

  private:
    static constexpr std::size_t kMax = 8;
    std::vector<Destination> last_;
};

}  // namespace servers
