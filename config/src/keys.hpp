#pragma once
#include <config/settings.hpp>

#include <yaml-cpp/yaml.h>

#include <functional>

namespace config {

/// One key of berth.yaml: what it means, and how its node is read into the settings.
struct Key {
    std::string name;                ///< dotted; "pools.NAME.ready" stands for any template's name
    std::string unit, default_value, meaning;
    /// "" when the value was taken, else what was expected. `line` 0 stands for the key's own line; a list's item sets it.
    std::function<std::string(Settings&, YAML::Node const&, std::string const& entry, int& line)> read;
};

std::vector<Key> const& keys();

/// Rules that join several keys. Each finding names the key to blame.
struct Finding {
    std::string key, expected;
};
std::optional<Finding> check(Settings const&);

// What a single value must look like; "" when it does.
std::string check_host(std::string const&);
std::string check_origin(std::string const&);
std::string check_toolset(std::string const&);
std::string check_pattern(std::string const&);
std::string check_network(std::string const&);
std::string check_domain(std::string const&);
std::string check_name(std::string const&);

}  // namespace config
