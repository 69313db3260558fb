#pragma once
#include <optional>
#include <string_view>

namespace http {

/// The name in "name" or "name:port"; nothing when it is neither. An IPv6 address keeps its brackets.
std::optional<std::string_view> host_name(std::string_view authority);

}  // namespace http
