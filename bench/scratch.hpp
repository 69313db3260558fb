#pragma once
#include <string>

namespace bench {

/// A temporary directory for everything a run writes. Destruction also ends processes that name it on their
/// command line and undoes mounts below it, and says on stderr what of that it had to do: nothing, when all
/// is well.
class Scratch {
  public:
    Scratch();
    ~Scratch();
    Scratch(Scratch const&) = delete;
    Scratch& operator=(Scratch const&) = delete;

    std::string const& path() const { return path_; }
    std::string path(std::string const& below) const { return path_ + "/" + below; }

  private:
    std::string path_;
};

}  // namespace bench
