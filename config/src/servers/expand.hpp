#pragma once
#include <config/servers.hpp>

#include <map>
#include <string>

namespace config::servers_json {

/// What `${...}` may name in one file.
struct Scope {
    ServerVariables const& variables;
    std::map<std::string, std::string> inputs;  ///< VS Code's, by id: their defaults
    bool bare_names = false;                    ///< Gemini's dialect: $NAME too
};

struct Expanded {
    std::string text;
    bool from_outside = false;  ///< a variable, a file or an input stands in it
    std::map<std::string, std::string> values;  ///< of those, by name, but defaults, which stand in the file
    std::string problem;        ///< "" or what could not be found
};

/// Replaces `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${file:/path}`, `${input:id}`, `${userHome}` and
/// `${pathSeparator}`, once: what comes out is not looked at again. `$$` is a dollar sign only before a
/// brace.
Expanded expand(std::string const& text, Scope const&);

}  // namespace config::servers_json
