#include <base/processes.hpp>

#include <base/files.hpp>

#include <poll.h>

#include <sstream>
#include <string>

namespace base {

std::uint64_t process_start(pid_t pid) {
    auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
    if (!text) return 0;
    // The name, in parentheses, may hold anything; the start is field 22, the 20th after it (proc(5)).
    auto const close = text->rfind(')');
    if (close == text->npos) return 0;
    std::istringstream fields(text->substr(close + 1));
    std::string state;
    fields >> state;
    if (state == "Z" || state == "X") return 0;
    std::string skipped;
    for (int field = 4; field < 22; ++field) fields >> skipped;
    std::uint64_t start = 0;
    fields >> start;
    return start;
}

bool has_ended(int pidfd) {
    pollfd p{pidfd, POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
}

}  // namespace base
