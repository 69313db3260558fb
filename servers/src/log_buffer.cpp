#include "log_buffer.hpp"

#include "clean.hpp"

#include <algorithm>

namespace servers {

void LogBuffer::append(std::string_view bytes) {
    while (!bytes.empty()) {
        auto const end = bytes.find('\n');
        auto const part = bytes.substr(0, end);
        // Beyond its bound a line is cut; the rest of it is not kept at all.
        partial_.append(part.substr(0, kMaxLine - std::min(kMaxLine, partial_.size())));
        if (end == bytes.npos) return;
        push(std::exchange(partial_, {}));
        bytes.remove_prefix(end + 1);
    }
}

void LogBuffer::note(std::string line) {
    if (!partial_.empty()) push(std::exchange(partial_, {}));
    push("[berth] " + line);
}

void LogBuffer::push(std::string line) {
    std::size_t removed = 0;
    line = visible_text(line, removed);
    bytes_ += line.size() + 1;
    lines_.push_back(std::move(line));
    while (bytes_ > kMaxBytes) {
        bytes_ -= lines_.front().size() + 1;
        lines_.pop_front();
    }
}

std::vector<std::string> LogBuffer::tail(std::size_t count) const {
    auto const from = lines_.size() - std::min(count, lines_.size());
    std::vector<std::string> out(lines_.begin() + static_cast<std::ptrdiff_t>(from), lines_.end());
    if (!partial_.empty()) {
        std::size_t removed = 0;
        out.push_back(visible_text(partial_, removed));
    }
    return out;
}

}  // namespace servers
