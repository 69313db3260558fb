#pragma once
#include "lab.hpp"

#include <memory>
#include <string>
#include <vector>

namespace bench {

/// Where the same work is done behind different walls: the template's programs over a volume of berth's, so
/// that only the walls differ.
class Workplace {
  public:
    virtual ~Workplace() = default;
    std::string const& name() const { return name_; }
    /// On this machine: what is /workspace there.
    std::string const& files() const { return files_; }
    /// A line of shell in /workspace, to its end: what it writes to stdout. Failure when it fails, or takes
    /// more than ten minutes.
    virtual std::string run(std::string const& line) = 0;
    /// Megabytes of an idle one: its processes', shared pages counted once among those that share them.
    virtual Samples idle_memory(int count) = 0;

  protected:
    Workplace(std::string name, std::string files) : name_(std::move(name)), files_(std::move(files)) {}

  private:
    std::string name_, files_;
};

/// All that this machine has, native first: native, gVisor, bubblewrap where scripts/bench has brought it,
/// and none, which is a chroot. They live as long as `server`, which has to allow native workspaces, and
/// `client`.
std::vector<std::unique_ptr<Workplace>> all_workplaces(Lab&, ServerUnderTest const& server,
                                                       McpClient& client);

}  // namespace bench
