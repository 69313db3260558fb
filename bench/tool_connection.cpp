#include "tool_connection.hpp"

#include "interrupt.hpp"

namespace bench {

Answer ToolConnection::call(std::string const& tool, base::Json const& arguments) {
    throw_if_interrupted();
    auto const request = compose(tool, arguments);
    auto const began = Clock::now();
    send(request);
    auto const text = receive();
    auto const took = Clock::now() - began;
    return {result_of(text, tool), took};
}

base::Json result_of(std::string const& text, std::string const& tool) {
    auto parsed = base::parse_json(text, {64u << 20, 128});
    if (!parsed || !parsed->is_object()) throw Failure(tool + " was answered by: " + text.substr(0, 300));
    if (parsed->contains("error"))
        throw Failure(tool + ": " + (*parsed)["error"].value("message", "an error"));
    auto& result = (*parsed)["result"];
    if (result.value("isError", false)) {
        auto const& content = result["content"];
        throw Failure(tool + ": " +
                      (content.empty() ? "failed" : content[0].value("text", "failed").substr(0, 300)));
    }
    return std::move(result);
}

bool tells_of_failure(std::string const& text) {
    return text.find("\"isError\":true") != text.npos || text.find("\"result\"") == text.npos;
}

}  // namespace bench
