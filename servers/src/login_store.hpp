#pragma once
#include <base/ids.hpp>
#include <base/result.hpp>

#include <string>

namespace servers {

/// What OAuth gave for servers reached by URL: one file each, 0600, in a directory of mode 0700. Files rather than the
/// registry, which the running berth has to itself: `berth servers login` writes them from beside it. Every call blocks.
class LoginStore {
  public:
    explicit LoginStore(std::string directory) : directory_(std::move(directory)) {}

    /// "" when there is none. errc::denied when others can read it.
    base::Result<base::Secret> load(std::string const& server) const;
    base::Status save(std::string const& server, base::Secret const& record) const;
    base::Status remove(std::string const& server) const;
    /// Another text for each record that was saved; "" when there is none.
    std::string stamp(std::string const& server) const;

  private:
    std::string file_of(std::string const& server) const;
    std::string directory_;
};

}  // namespace servers
