#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/syscalls.hpp>
#include <sandbox/sandboxes.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace sandbox {

namespace {

constexpr std::pair<char const*, char const*> kEtcFiles[] = {
    {"passwd", "root:x:0:0:root:/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
    {"group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
    {"hosts", "127.0.0.1 localhost\n::1 localhost\n"},
    {"hostname", "workspace\n"},
    {"nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
};

// Programs, and of /etc public certificates only, since the machine's own holds secrets.
constexpr char const* kBorrowed[] = {"/usr", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/alternatives"};

}  // namespace

base::Result<Template> make_host_template(std::string const& directory) {
    std::error_code ec;
    std::filesystem::create_directories(directory, ec);
    auto const base_dir = std::filesystem::canonical(directory, ec);
    if (ec) return base::error(base::errc::invalid, directory + ": " + ec.message());
    std::string const root = (base_dir / "host-rootfs").string();
    for (char const* name : {"", "/usr", "/etc", "/etc/ssl", "/etc/ssl/certs", "/etc/ca-certificates",
                             "/etc/alternatives", "/var", "/var/tmp", "/run", "/root", "/home", "/home/agent",
                             "/workspace", "/proc", "/sys", "/dev", "/tmp", "/berth", "/opt", "/mnt", "/srv"})
        if (auto s = base::sys::mkdir(root + name, 0755); !s) return s.error();
    for (char const* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
        struct stat st{};
        if (::lstat(name, &st) != 0) continue;
        if (!S_ISLNK(st.st_mode))
            return base::error(base::errc::unavailable, std::string("this system keeps programs in ") + name +
                                                            " apart from /usr: use a template image");
        if (::symlink((std::string("usr") + name).c_str(), (root + name).c_str()) != 0 && errno != EEXIST)
            return base::errno_error("link " + root + name);
    }
    std::string contents;
    for (auto const& [name, text] : kEtcFiles) {
        if (auto s = base::replace_file(root + "/etc/" + name, text, 0644); !s) return s.error();
        contents += text;
    }
    // Where libraries are; without it programs from unusual directories do not start.
    if (auto cache = base::read_file("/etc/ld.so.cache", 16 << 20))
        if (auto s = base::replace_file(root + "/etc/ld.so.cache", *cache, 0644); !s) return s.error();
    struct stat usr{};
    if (::stat("/usr/bin", &usr) != 0) return base::errno_error("stat /usr/bin");
    contents += std::to_string(usr.st_mtim.tv_sec) + "." + std::to_string(usr.st_ino);
    Template image{"host", root, "host-" + base::sha256_hex(contents).substr(0, 16), {}};
    for (char const* path : kBorrowed)
        if (struct stat st{}; ::stat(path, &st) == 0 && S_ISDIR(st.st_mode)) image.borrowed.push_back(path);
    return image;
}

}  // namespace sandbox
