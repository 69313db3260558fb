#pragma once
#include <base/asio.hpp>
#include <base/json.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace mcp {

using base::Json;

/// Values that a client keeps for us and gives back: readable, but neither altered nor used elsewhere.
/// HMAC-SHA-256 over purpose, binding and value, so that what was made for one caller, method or request
/// opens for no other.
class Seal {
  public:
    /// An empty key is replaced by a random one: values then end with the process.
    explicit Seal(std::string key);
    std::string close(std::string_view purpose, std::string_view binding, Json const& value,
                      base::milliseconds good_for) const;
    /// Nothing when it was altered, made for something else, or is too old.
    std::optional<Json> open(std::string_view purpose, std::string_view binding,
                             std::string_view sealed) const;

  private:
    std::string mac(std::string_view purpose, std::string_view binding, std::string_view body) const;
    std::string key_;
};

}  // namespace mcp
