#include "user_namespace.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

namespace sandbox::native {

base::Status map_ids(pid_t pid, std::uint32_t first, std::uint32_t count) {
    auto const map = "0 " + std::to_string(first) + " " + std::to_string(count);
    for (char const* file : {"/uid_map", "/gid_map"})
        if (auto s = base::write_knob("/proc/" + std::to_string(pid) + file, map); !s) return base::wrap(s.error(), "map ids");
    return {};
}

base::Result<base::UniqueFd> user_namespace_of(pid_t pid) {
    return base::sys::open("/proc/" + std::to_string(pid) + "/ns/user", O_RDONLY);
}

base::Status become_root() {
    if (::setgroups(0, nullptr) != 0) return base::errno_error("setgroups");
    if (::setresgid(0, 0, 0) != 0) return base::errno_error("setresgid");
    if (::setresuid(0, 0, 0) != 0) return base::errno_error("setresuid");
    return {};
}

}  // namespace sandbox::native
