#include "template_root.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>

namespace sandbox {

namespace {

constexpr char const* kHostTemplate = "host";
constexpr char const* kBorrowed[] = {"/usr", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/alternatives"};

}  // namespace

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

std::vector<std::string> borrowed_directories(Template const& image) {
    std::vector<std::string> out;
    if (image.name != kHostTemplate) return out;
    for (char const* path : kBorrowed) {
        struct stat st{};
        if (::stat(path, &st) == 0 && S_ISDIR(st.st_mode)) out.push_back(path);
    }
    return out;
}

}  // namespace sandbox
