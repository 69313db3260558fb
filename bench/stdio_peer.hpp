#pragma once
#include "children.hpp"
#include "tool_connection.hpp"

#include <memory>
#include <string>
#include <vector>

namespace bench {

/// A server of the 2025 revisions on the stdin and stdout of a process of its own. The process ends with the
/// object.
class StdioPeer final : public ToolConnection {
  public:
    /// `log` takes its stderr.
    StdioPeer(Children&, std::vector<std::string> argv, std::vector<std::string> env, std::string const& log);
    ~StdioPeer() override;
    std::string compose(std::string const& tool, base::Json const& arguments) override;
    void send(std::string const& composed) override;
    std::string receive() override;

  private:
    std::string line();
    std::string name_;
    base::UniqueFd to_, from_;
    std::unique_ptr<Child> child_;
    std::string unread_;
    long next_id_ = 1;
};

}  // namespace bench
