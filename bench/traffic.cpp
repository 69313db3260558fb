#include "traffic.hpp"

#include "interrupt.hpp"

#include <algorithm>

namespace bench {

double rate(std::vector<ToolConnection*> const& lanes, int calls, std::string const& tool,
            base::Json const& arguments) {
    throw_if_interrupted();
    // In the order in which they are sent: round after round.
    std::vector<std::string> composed;
    for (int i = 0; i < calls; ++i)
        composed.push_back(lanes[static_cast<std::size_t>(i) % lanes.size()]->compose(tool, arguments));
    std::size_t sent = 0;
    auto const began = Clock::now();
    for (; sent < std::min(lanes.size(), composed.size()); ++sent) lanes[sent]->send(composed[sent]);
    for (std::size_t answered = 0; answered < composed.size(); ++answered) {
        auto& lane = *lanes[answered % lanes.size()];
        auto const text = lane.receive();
        if (tells_of_failure(text)) throw Failure(tool + ": " + text.substr(0, 300));
        if (sent < composed.size()) lane.send(composed[sent++]);
    }
    return calls / std::chrono::duration<double>(Clock::now() - began).count();
}

}  // namespace bench
