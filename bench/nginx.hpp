#pragma once
#include "children.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace bench {

/// nginx as a reverse proxy of one program on loopback, as its manual sets it up for that: connections kept
/// alive on both sides, bodies passed on as they come. A worker for each processor. Ends with the object.
class Nginx {
  public:
    /// `directory` must not exist yet. Failure when it does not start.
    Nginx(Children&, std::string const& program, std::string directory, std::uint16_t upstream);
    ~Nginx();
    Nginx(Nginx const&) = delete;
    Nginx& operator=(Nginx const&) = delete;
    std::uint16_t port() const { return port_; }

  private:
    void stop() noexcept;
    std::string directory_;
    std::uint16_t port_;
    std::unique_ptr<Child> child_;
};

}  // namespace bench
