#pragma once
#include "stats.hpp"
#include <base/json.hpp>

#include <string>

namespace bench {

struct Answer {
    base::Json result;       ///< the `result` of the tool call
    Clock::duration took{};  ///< from the first byte sent to the last byte read; nothing is parsed meanwhile

    base::Json const& structured() const { return result.at("structuredContent"); }
};

/// One connection to an MCP server, with calls of tools. Whatever goes wrong is a Failure. Threads: one.
class ToolConnection {
  public:
    virtual ~ToolConnection() = default;
    /// The bytes of a request, ready to be sent: composed outside what is timed.
    virtual std::string compose(std::string const& tool, base::Json const& arguments) = 0;
    virtual void send(std::string const& composed) = 0;
    /// The next JSON-RPC answer, as text.
    virtual std::string receive() = 0;

    /// One call from begin to end, which has to succeed.
    Answer call(std::string const& tool, base::Json const& arguments);
};

/// A JSON-RPC answer's result. Failure when it is an error or a tool's failure.
base::Json result_of(std::string const& text, std::string const& tool);
/// Cheap enough for a rate: whether the text of an answer tells of a failure.
bool tells_of_failure(std::string const& text);

}  // namespace bench
