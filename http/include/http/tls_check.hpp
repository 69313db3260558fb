#pragma once
#include <http/server.hpp>

namespace http {

/// That the pair loads, as a listener would load it.
base::Status check_tls(TlsFiles const&);

}  // namespace http
