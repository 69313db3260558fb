#pragma once
#include "link.hpp"
#include "local_ports.hpp"
#include "processes.hpp"
#include "setup.hpp"
#include "streams.hpp"

namespace guest {

/// Owns everything and takes each request to whom it concerns.
class Guest {
  public:
    Guest(SetupOptions options, int in, int out);
    [[noreturn]] void run();

  private:
    void request(std::uint32_t id, Json const&, std::string_view raw);
    void dispatch(std::uint32_t id, Json const&, std::string_view raw);
    void configure(std::uint32_t id, Json const&);     // `renew` is the same and announces itself
    void quiesce(std::uint32_t id);
    void move_local_ports();

    SetupOptions options_;
    Setup setup_;
    Loop loop_;
    Link link_;
    Streams streams_;
    Processes processes_;
    LocalPorts local_ports_;
    Loop::TimerId ports_settle_{};
};

}  // namespace guest
