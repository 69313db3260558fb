#pragma once
#include <base/json.hpp>
#include <mcp/features.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace host {

using base::Json;

/// What a tool takes, said once: the JSON schema that clients see and the check that calls pass come from the
/// same table.
struct Field {
    enum class Type { string, integer, number, boolean, strings, string_map, objects, object };
    std::string name;
    Type type = Type::string;
    std::string description;
    bool required = false;
    Json example;  ///< shown when the argument is wrong
    std::optional<double> minimum, maximum;
    std::vector<std::string> values;   ///< allowed strings
    std::vector<Field> fields;         ///< of `object` and of each of `objects`
    std::vector<std::string> aliases;  ///< accepted, not listed: names that models use from habit
    std::size_t max_length = 1 << 20;  ///< bytes of a string
};

Json schema_of(std::vector<Field> const& fields);

/// A wrong argument: field, what was expected, an example. Becomes a tool result with isError, so that the
/// model can mend it.
struct BadArgument : std::exception {
    explicit BadArgument(std::string text) : message(std::move(text)) {}
    char const* what() const noexcept override { return message.c_str(); }
    std::string message;
};

/// Checked arguments, under their listed names. Throws BadArgument.
class Arguments {
  public:
    Arguments(std::vector<Field> const& fields, Json given);
    bool has(std::string const& name) const { return values_.contains(name); }
    std::string string(std::string const& name, std::string fallback = "") const;
    std::int64_t integer(std::string const& name, std::int64_t fallback) const;
    double number(std::string const& name, double fallback) const;
    bool boolean(std::string const& name, bool fallback) const;
    std::vector<std::string> strings(std::string const& name) const;
    std::map<std::string, std::string> string_map(std::string const& name) const;
    Json const& raw(std::string const& name) const;  ///< null when absent
    Json const& all() const { return values_; }

  private:
    Json values_;
};

}  // namespace host
