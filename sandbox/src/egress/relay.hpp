#pragma once
#include "dial.hpp"
#include "request.hpp"

#include <sandbox/guest.hpp>

namespace sandbox::egress {

/// Copies both ways until both have ended, one breaks, or nothing has moved for `idle`. `early` are bytes that came from
/// inside after the head. A tunnel's ends close one by one; an exchange ends with the server's answer, and what follows
/// the request's body is not sent. Holds one buffer each way and reads no more before that is written.
/// The stream and the socket outlive the call; throws when cancelled.
base::Task<void> relay(base::ByteStream& guest, Socket& server, Request const& request, std::string early, base::milliseconds idle);

}  // namespace sandbox::egress
