// Volumes without an image of their own, where loop devices cannot be had. What is in them is hostile: no
// name is followed, and every one is looked at through its parent's descriptor.
#include "volume_copy.hpp"
#include <base/syscalls.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace workspace::volume_directory {
namespace {

using base::Status;
using base::UniqueFd;

constexpr int kMaxDepth = 200;  // each level holds three descriptors
constexpr std::size_t kMaxXattrs = 64 << 10;

class TreeCopy {
  public:
    TreeCopy(int to, std::uint64_t& bytes, Deadline until) : to_(to), bytes_(bytes), until_(until) {}

    Status directory(int from, int to, std::string const& path, std::string const& except, int depth) {
        if (depth > kMaxDepth)
            return base::error(base::errc::limit, "directories are nested deeper than " +
                                                      std::to_string(kMaxDepth) + " at " +
                                                      path.substr(0, 200));
        UniqueFd listing(::fcntl(from, F_DUPFD_CLOEXEC, 0));
        if (!listing) return base::errno_error("list " + path);
        std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> dir(::fdopendir(listing.get()));
        if (!dir) return base::errno_error("list " + path);
        (void)listing.release();
        ::rewinddir(dir.get());  // the copy of the descriptor shares its offset
        while (dirent const* e = ::readdir(dir.get())) {
            std::string const name = e->d_name;
            if (name == "." || name == ".." || (depth == 0 && name == except)) continue;
            if (auto ok = entry(from, to, name, path + "/" + name, depth); !ok) return ok;
        }
        return {};
    }

    // After the contents, which change times.
    static Status attributes(int from, int to, struct stat const& st, std::string const& path) {
        std::string names(kMaxXattrs, '\0'), value(kMaxXattrs, '\0');
        ssize_t const listed = ::flistxattr(from, names.data(), names.size());
        if (listed < 0 && errno != EOPNOTSUPP) return base::errno_error("attributes of " + path);
        for (ssize_t at = 0; at < listed;) {
            char const* const name = names.data() + at;
            ssize_t const n = ::fgetxattr(from, name, value.data(), value.size());
            if (n < 0 || ::fsetxattr(to, name, value.data(), static_cast<std::size_t>(n), 0) < 0)
                return base::errno_error(std::string("attribute ") + name + " of " + path);
            at += static_cast<ssize_t>(std::string_view(name).size()) + 1;
        }
        if (::fchown(to, st.st_uid, st.st_gid) < 0) return base::errno_error("owner of " + path);
        if (::fchmod(to, st.st_mode & 07777) < 0) return base::errno_error("mode of " + path);
        timespec const times[] = {st.st_atim, st.st_mtim};
        if (::futimens(to, times) < 0) return base::errno_error("times of " + path);
        return {};
    }

  private:
    Status entry(int from, int to, std::string const& name, std::string const& path, int depth) {
        if (auto ok = in_time(until_); !ok) return ok;
        struct stat st {};
        if (::fstatat(from, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
            return errno == ENOENT ? Status() : base::errno_error("look at " + path);
        if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
            auto const [first, is_new] = linked_.emplace(std::pair(st.st_dev, st.st_ino), path);
            // Nobody else is in the new tree, so a path there is what it says. One too long for the kernel is
            // copied again.
            if (!is_new && ::linkat(to_, first->second.c_str() + 1, to, name.c_str(), 0) == 0) return {};
        }
        return single(from, to, name, path, st, depth);
    }

    Status single(int from, int to, std::string const& name, std::string const& path, struct stat const& st,
                  int depth) {
        if (S_ISLNK(st.st_mode)) return link(from, to, name, path, st);
        if (S_ISFIFO(st.st_mode)) {
            if (::mkfifoat(to, name.c_str(), st.st_mode & 07777) < 0)
                return base::errno_error("make " + path);
            return owner_and_times(to, name, st, path);
        }
        if (S_ISDIR(st.st_mode)) {
            auto source = base::sys::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            if (!source) return source.error();
            if (::mkdirat(to, name.c_str(), 0700) < 0) return base::errno_error("make " + path);
            auto target = base::sys::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            if (!target) return target.error();
            if (auto ok = directory(source->get(), target->get(), path, "", depth + 1); !ok) return ok;
            return attributes(source->get(), target->get(), st, path);
        }
        if (!S_ISREG(st.st_mode)) return {};  // sockets are nobody's any more, devices do not belong here
        auto source = base::sys::openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (!source) return source.error();
        auto target = base::sys::openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (!target) return target.error();
        auto shared = copy_file(source->get(), target->get(), static_cast<std::uint64_t>(st.st_size), path, until_);
        if (!shared) return shared.error();
        bytes_ += static_cast<std::uint64_t>(st.st_blocks) * 512;
        return attributes(source->get(), target->get(), st, path);
    }

    static Status link(int from, int to, std::string const& name, std::string const& path,
                       struct stat const& st) {
        std::string target(PATH_MAX, '\0');
        ssize_t const n = ::readlinkat(from, name.c_str(), target.data(), target.size());
        if (n < 0) return base::errno_error("read the link " + path);
        target.resize(static_cast<std::size_t>(n));
        if (::symlinkat(target.c_str(), to, name.c_str()) < 0)
            return base::errno_error("make the link " + path);
        return owner_and_times(to, name, st, path);
    }

    static Status owner_and_times(int to, std::string const& name, struct stat const& st,
                                  std::string const& path) {
        if (::fchownat(to, name.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
            return base::errno_error("owner of " + path);
        timespec const times[] = {st.st_atim, st.st_mtim};
        if (::utimensat(to, name.c_str(), times, AT_SYMLINK_NOFOLLOW) < 0)
            return base::errno_error("times of " + path);
        return {};
    }

    int to_;
    std::uint64_t& bytes_;
    Deadline until_;
    std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // to the first of its names
};

}  // namespace

Status copy_tree(std::string const& from, std::string const& to, std::string const& except,
                 std::uint64_t& bytes, Deadline until) {
    auto source = base::sys::open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!source) return source.error();
    auto target = base::sys::open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!target) return target.error();
    struct stat st {};
    if (::fstat(source->get(), &st) < 0) return base::errno_error("look at " + from);
    TreeCopy tree(target->get(), bytes, until);
    if (auto ok = tree.directory(source->get(), target->get(), "", except, 0); !ok) return ok;
    return TreeCopy::attributes(source->get(), target->get(), st, "/");
}

}  // namespace workspace::volume_directory
