#pragma once
#include <base/result.hpp>

#include <cstdint>
#include <string>

namespace sandbox::native {

// What a sandbox wrote over its template: the upper directory of its overlay. Kept beside CRIU's images as
// one archive, with the attributes and the devices of number 0 by which an overlay notes what is hidden and
// renamed. By GNU tar, which knows all of them, and holes.

/// `directory` into the new file `archive`. Nobody may write there meanwhile. errc::invalid: a path in it is longer than 4000
/// bytes, which tar would not bring back.
base::Status pack_upper(std::string const& directory, std::string const& archive);
/// Back, into an empty directory, with the owners' ids moved from the range at `first` to the one at
/// `wanted`.
base::Status unpack_upper(std::string const& archive, std::string const& directory, std::uint32_t first,
                          std::uint32_t wanted, std::uint32_t count);

}  // namespace sandbox::native
