#include "event_stream.hpp"

#include <algorithm>
#include <charconv>

namespace mcp {

void EventParser::take_line(std::string_view line, std::vector<StreamEvent>& out) {
    if (std::exchange(first_, false) && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (line.empty()) {
        if (dirty_) out.push_back(std::move(event_));
        event_ = StreamEvent();
        dirty_ = false;
        event_bytes_ = 0;
        return;
    }
    auto const colon = line.find(':');
    if (colon == 0) return;
    auto const name = line.substr(0, colon);
    auto value = colon == line.npos ? std::string_view{} : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    event_bytes_ += line.size();
    if (name == "data") {
        if (event_.data) {
            event_.data->append("\n").append(value);
        } else {
            event_.data = value;
        }
        dirty_ = true;
    } else if (name == "event") {
        if (!value.empty()) event_.type = value;
    } else if (name == "id") {
        // It goes into a header when the stream is resumed.
        auto const printable = [](char c) { return c >= 0x20 && c < 0x7f; };
        if (value.size() > 1024 || !std::all_of(value.begin(), value.end(), printable)) return;
        event_.id = value;
        dirty_ = true;
    } else if (name == "retry") {
        std::uint32_t ms = 0;
        auto const [end, ec] = std::from_chars(value.data(), value.data() + value.size(), ms);
        if (ec != std::errc{} || end != value.data() + value.size()) return;
        event_.retry = base::milliseconds(ms);
        dirty_ = true;
    }
}

base::Result<std::vector<StreamEvent>> EventParser::feed(std::string_view bytes) {
    std::vector<StreamEvent> out;
    while (!bytes.empty()) {
        if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
            bytes.remove_prefix(1);
            continue;
        }
        auto const end = bytes.find_first_of("\r\n");
        auto const piece = bytes.substr(0, end);
        if (line_.size() + piece.size() + event_bytes_ > max_)
            return base::error(base::errc::limit,
                               "an event is larger than " + std::to_string(max_) + " bytes");
        if (end == bytes.npos) {
            line_ += piece;
            break;
        }
        if (line_.empty()) {
            take_line(piece, out);
        } else {
            line_ += piece;
            take_line(line_, out);
            line_.clear();
        }
        after_cr_ = bytes[end] == '\r';
        bytes.remove_prefix(end + 1);
    }
    return out;
}

}  // namespace mcp
