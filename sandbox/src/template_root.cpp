#include "template_root.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>

namespace sandbox {

base::Status prepare_root(Template const& image) {
    for (char const* name : {"/proc", "/sys", "/dev", "/tmp", "/berth", "/workspace", "/home", "/home/agent"}) {
        // A link where a directory is wanted would be followed by the bind mount, out of the image.
        struct stat st{};
        auto const path = image.rootfs + name;
        if (::lstat(path.c_str(), &st) == 0) {
            if (S_ISDIR(st.st_mode)) continue;
            return base::error(base::errc::invalid, "template " + image.name + ": " + name + " is not a directory");
        }
        if (auto s = base::sys::mkdir(path, 0755); !s) return base::wrap(s.error(), "template " + image.name);
    }
    auto file = base::sys::open(image.rootfs + kGuestPath, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0755);
    if (!file) return base::wrap(file.error(), "template " + image.name);
    return {};
}

}  // namespace sandbox
