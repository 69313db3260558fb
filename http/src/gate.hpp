#pragma once
#include <http/server.hpp>

namespace http {

/// An answer of ours instead of a handler's. The text is fixed at compile time, so it can hold nothing of the
/// host.
struct Refusal {
    Status status;
    char const* text;
    std::string allow = {};  ///< for 405: the value of Allow
};

/// Decides from a request's head who may come in. Pure: no socket, no clock.
class Gate {
  public:
    explicit Gate(GateOptions);

    /// Host and Origin. Asked before routing.
    std::optional<Refusal> admit(Fields const&) const;
    /// The principal behind "Authorization: Bearer ...", or the 401.
    boost::system::result<Principal, Refusal> authenticate(Fields const&) const;

  private:
    bool host_allowed(std::string_view host) const;
    bool origin_allowed(std::string_view origin) const;

    GateOptions options_;
    bool loopback_ = false;  ///< a loopback name is among the hosts
};

}  // namespace http
