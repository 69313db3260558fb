#include <base/beneath.hpp>
#include <base/ids.hpp>
#include <base/syscalls.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

namespace base {
namespace {

// Prefix of files that are being written; a crash may leave one, `list` does not hide them.
constexpr std::string_view kTemporary = ".berth-tmp-";

Error path_error(int saved, std::string_view path) {
    std::string const name(path);
    switch (saved) {
        case EXDEV: return error(errc::denied, name + " leads outside the workspace");
        case ELOOP: return error(errc::denied, name + " passes a symbolic link, which is not followed here; use the real path");
        case ENOENT: return error(errc::not_found, name + " does not exist");
        case ENOTDIR: return error(errc::invalid, name + " has a part that is not a directory");
        case EISDIR: return error(errc::invalid, name + " is a directory");
        case ENXIO: return error(errc::invalid, name + " is not a regular file");
        case ENAMETOOLONG: return error(errc::invalid, name + " is too long");
        case EEXIST: return error(errc::exists, name + " already exists");
        case ENOTEMPTY: return error(errc::exists, name + " is a directory that is not empty");
        default: return errno_error(saved, name);
    }
}

Status check(std::string_view path) {
    if (path.empty()) return error(errc::invalid, "the path is empty");
    if (path.size() > Beneath::kMaxPath) return error(errc::invalid, "the path is longer than 4095 bytes");
    if (path.find('\0') != path.npos) return error(errc::invalid, "the path contains a NUL byte");
    if (path.front() == '/') return error(errc::denied, std::string(path) + " is absolute; expected a path inside the workspace");
    return {};
}

Beneath::Kind kind_of(mode_t mode) {
    if (S_ISREG(mode)) return Beneath::Kind::file;
    if (S_ISDIR(mode)) return Beneath::Kind::directory;
    if (S_ISLNK(mode)) return Beneath::Kind::link;
    return Beneath::Kind::other;
}

Beneath::Entry entry_of(std::string name, struct stat const& st) {
    return {std::move(name), kind_of(st.st_mode), static_cast<std::uint64_t>(st.st_size),
            std::int64_t{st.st_mtim.tv_sec} * 1000 + st.st_mtim.tv_nsec / 1'000'000, st.st_mode & 07777};
}

struct CloseDir {
    void operator()(DIR* d) const { ::closedir(d); }
};
using DirStream = std::unique_ptr<DIR, CloseDir>;

// Takes the descriptor over. "." and ".." are skipped. Stops when `each` returns false.
template <class Each>
Status read_names(UniqueFd dir, std::string_view path, Each each) {
    DirStream stream(::fdopendir(dir.get()));
    if (!stream) return path_error(errno, path);
    dir.release();
    for (;;) {
        errno = 0;
        dirent const* e = ::readdir(stream.get());
        if (!e) return errno ? Status(path_error(errno, path)) : Status();
        std::string_view const name = e->d_name;
        if (name == "." || name == "..") continue;
        if (!each(name)) return {};
    }
}

Result<UniqueFd> open_child_dir(int dir, std::string const& name, std::string_view shown) {
    int const fd = ::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return path_error(errno == ENOTDIR ? ELOOP : errno, shown);
    return UniqueFd(fd);
}

// Removes what is in `dir` by descriptor, so that a directory swapped for a link meanwhile is not entered.
Status remove_contents(UniqueFd dir, std::string const& shown, int depth) {
    if (depth > Beneath::kMaxDepth) return error(errc::limit, shown + " is nested too deep to delete; delete it with run_command");
    int const again = ::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0) return path_error(errno, shown);
    Status failed;
    auto read = read_names(UniqueFd(again), shown, [&](std::string_view name_view) {
        std::string const name(name_view);
        if (::unlinkat(dir.get(), name.c_str(), 0) == 0 || errno == ENOENT) return true;
        if (errno != EISDIR && errno != EPERM) {
            failed = path_error(errno, shown + "/" + name);
            return false;
        }
        auto child = open_child_dir(dir.get(), name, shown + "/" + name);
        if (!child) {
            failed = child.error();
            return false;
        }
        failed = remove_contents(std::move(*child), shown + "/" + name, depth + 1);
        if (!failed) return false;
        if (::unlinkat(dir.get(), name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT) {
            failed = path_error(errno, shown + "/" + name);
            return false;
        }
        return true;
    });
    if (!failed) return failed;
    return read;
}

struct CopyBudget {
    std::uint64_t bytes;
    std::size_t entries;
    dev_t into_device;    // the directory that receives the copy: meeting it below the source means a copy into itself
    ino_t into_inode;
};

Status copy_file(int from_dir, std::string const& from, int to_dir, std::string const& to, std::string const& shown,
                 CopyBudget& budget) {
    UniqueFd in(::openat(from_dir, from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!in) return path_error(errno, shown);
    struct stat st{};
    if (::fstat(in.get(), &st) < 0) return path_error(errno, shown);
    if (!S_ISREG(st.st_mode)) return path_error(ENXIO, shown);
    UniqueFd out(::openat(to_dir, to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, st.st_mode & 0777));
    if (!out) return path_error(errno, shown);
    for (;;) {
        auto const n = ::copy_file_range(in.get(), nullptr, out.get(), nullptr, std::min<std::uint64_t>(budget.bytes + 1, 1 << 20), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return path_error(errno, shown);
        if (n == 0) break;
        if (static_cast<std::uint64_t>(n) > budget.bytes)
            return error(errc::limit, "the copy is larger than the limit; copy it with run_command");
        budget.bytes -= static_cast<std::uint64_t>(n);
    }
    return sys::fsync(out.get(), shown);
}

Status copy_entry(int from_dir, std::string const& from, int to_dir, std::string const& to, std::string const& shown,
                  CopyBudget& budget, int depth) {
    if (depth > Beneath::kMaxDepth || budget.entries-- == 0)
        return error(errc::limit, "the tree is deeper or has more entries than the limit; copy it with run_command");
    struct stat st{};
    if (::fstatat(from_dir, from.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return path_error(errno, shown);
    if (S_ISREG(st.st_mode)) return copy_file(from_dir, from, to_dir, to, shown, budget);
    if (S_ISLNK(st.st_mode)) {
        std::string target(Beneath::kMaxPath + 1, '\0');
        auto const n = ::readlinkat(from_dir, from.c_str(), target.data(), target.size());
        if (n < 0) return path_error(errno, shown);
        target.resize(static_cast<std::size_t>(n));
        if (::symlinkat(target.c_str(), to_dir, to.c_str()) < 0) return path_error(errno, shown);
        return {};
    }
    if (!S_ISDIR(st.st_mode)) return path_error(ENXIO, shown);
    auto in = open_child_dir(from_dir, from, shown);
    if (!in) return in.error();
    if (::fstat(in->get(), &st) < 0) return path_error(errno, shown);
    if (st.st_dev == budget.into_device && st.st_ino == budget.into_inode)
        return error(errc::invalid, "a directory cannot be copied into itself; choose a target outside it");
    if (::mkdirat(to_dir, to.c_str(), st.st_mode & 0777) < 0) return path_error(errno, shown);
    auto out = open_child_dir(to_dir, to, shown);
    if (!out) return out.error();
    std::vector<std::string> names;
    UniqueFd again(::openat(in->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!again) return path_error(errno, shown);
    auto read = read_names(std::move(again), shown, [&](std::string_view n) {
        names.emplace_back(n);
        return names.size() <= budget.entries;
    });
    if (!read) return read;
    for (auto const& name : names)
        if (auto s = copy_entry(in->get(), name, out->get(), name, shown + "/" + name, budget, depth + 1); !s) return s;
    return {};
}

Status walk_directory(int dir, std::string const& prefix, int depth, bool& go_on,
                      std::function<bool(std::string const&, Beneath::Entry const&)> const& visit) {
    if (depth > Beneath::kMaxDepth) return {};
    std::vector<std::string> names;
    UniqueFd again(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!again) return path_error(errno, prefix);
    constexpr std::size_t kMaxNames = 1'000'000;   // about 64 MB of names, the most that one directory may cost us
    if (auto s = read_names(std::move(again), prefix, [&](std::string_view n) {
            names.emplace_back(n);
            return names.size() < kMaxNames;
        }); !s)
        return s;
    std::sort(names.begin(), names.end());
    for (auto const& name : names) {
        struct stat st{};
        if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) continue;   // gone meanwhile
        auto const path = prefix.empty() ? name : prefix + "/" + name;
        bool const more = visit(path, entry_of(name, st));
        if (!S_ISDIR(st.st_mode)) {
            go_on = more;
            if (!go_on) return {};
            continue;
        }
        if (!more) continue;
        auto child = open_child_dir(dir, name, path);
        if (!child) continue;                                                       // swapped or gone meanwhile
        if (auto s = walk_directory(child->get(), path, depth + 1, go_on, visit); !s) return s;
        if (!go_on) return {};
    }
    return {};
}

}  // namespace

struct Beneath::Parent {
    UniqueFd dir;
    std::string name;
};

Result<Beneath> Beneath::open(std::string const& path, Sync sync) {
    auto fd = sys::open(path, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    return Beneath(std::move(*fd), sync);
}

Result<UniqueFd> Beneath::resolve(std::string_view path, int flags, std::uint64_t extra) const {
    if (auto ok = check(path); !ok) return ok.error();
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | extra;
    std::string const terminated(path);
    for (int tries = 0;; ++tries) {
        auto const fd = static_cast<int>(::syscall(SYS_openat2, root_.get(), terminated.c_str(), &how, sizeof how));
        if (fd >= 0) return UniqueFd(fd);
        // EAGAIN: something was renamed while ".." was resolved (openat2(2)); a racer can repeat that for ever.
        if ((errno == EAGAIN && tries < 64) || errno == EINTR) continue;
        return path_error(errno, path);
    }
}

Result<UniqueFd> Beneath::open_file(std::string_view path) const {
    auto fd = resolve(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!fd) return fd;
    struct stat st{};
    if (::fstat(fd->get(), &st) < 0) return path_error(errno, path);
    if (S_ISDIR(st.st_mode)) return path_error(EISDIR, path);
    if (!S_ISREG(st.st_mode)) return path_error(ENXIO, path);
    return fd;
}

Result<Beneath> Beneath::open_directory(std::string_view path) const {
    auto fd = resolve(path, O_RDONLY | O_DIRECTORY, 0);
    if (!fd) return fd.error();
    Beneath opened(std::move(*fd), sync_);
    opened.staging_ = staging_;
    return opened;
}

void Beneath::stage_in(Beneath const& directory) {
    UniqueFd own(::fcntl(directory.fd(), F_DUPFD_CLOEXEC, 0));
    if (own) staging_ = std::make_shared<UniqueFd const>(std::move(own));
}

// Whoever may write the file system may remove the staging directory under us; nothing can be made in it then.
int Beneath::staging_or(int directory) const {
    struct stat st{};
    return staging_ && ::fstat(staging_->get(), &st) == 0 && st.st_nlink > 0 ? staging_->get() : directory;
}

Result<Beneath::Entry> Beneath::stat(std::string_view path, bool follow) const {
    auto fd = resolve(path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);
    if (!fd) return fd.error();
    struct stat st{};
    if (::fstat(fd->get(), &st) < 0) return path_error(errno, path);
    auto const slash = path.rfind('/');
    return entry_of(std::string(slash == path.npos ? path : path.substr(slash + 1)), st);
}

Result<std::string> Beneath::read(std::string_view path, std::size_t max) const {
    auto fd = open_file(path);
    if (!fd) return fd.error();
    return sys::read_all(fd->get(), max, std::string(path));
}

std::optional<std::string> Beneath::read_cached(std::string_view path, std::size_t max) const {
    if (!check(path)) return std::nullopt;
    open_how how{};
    how.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME;    // a time to note would be a write
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED;
    std::string const terminated(path);
    UniqueFd const fd(static_cast<int>(::syscall(SYS_openat2, root_.get(), terminated.c_str(), &how, sizeof how)));
    struct stat st{};
    if (!fd || ::fstat(fd.get(), &st) < 0 || !S_ISREG(st.st_mode) || static_cast<std::uint64_t>(st.st_size) > max)
        return std::nullopt;
    std::string bytes(static_cast<std::size_t>(st.st_size), '\0');
    iovec const whole{bytes.data(), bytes.size()};
    if (::preadv2(fd.get(), &whole, 1, 0, RWF_NOWAIT) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
    return bytes;
}

Result<std::vector<Beneath::Entry>> Beneath::list(std::string_view path, std::size_t max, bool& more) const {
    auto fd = resolve(path, O_RDONLY | O_DIRECTORY, 0);
    if (!fd) return fd.error();
    std::vector<Entry> out;
    more = false;
    UniqueFd stat_from(::fcntl(fd->get(), F_DUPFD_CLOEXEC, 0));
    if (!stat_from) return path_error(errno, path);
    auto read = read_names(std::move(*fd), path, [&](std::string_view name_view) {
        if (out.size() == max) {
            more = true;
            return false;
        }
        std::string name(name_view);
        struct stat st{};
        if (::fstatat(stat_from.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
            out.push_back(entry_of(std::move(name), st));
        return true;
    });
    if (!read) return read.error();
    return out;
}

Result<Beneath::Parent> Beneath::parent_of(std::string_view path, bool create) const {
    if (auto ok = check(path); !ok) return ok.error();
    while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    auto const slash = path.rfind('/');
    std::string name(slash == path.npos ? path : path.substr(slash + 1));
    std::string_view const parent = slash == path.npos ? "." : path.substr(0, slash);
    if (name == "." || name == "..") return error(errc::invalid, std::string(path) + " does not name a file");
    auto dir = resolve(parent, O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (!dir && create && is(dir.error(), errc::not_found)) {
        if (auto made = make_directories(parent); !made) return made.error();
        dir = resolve(parent, O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    }
    if (!dir) return dir.error();
    return Parent{std::move(*dir), std::move(name)};
}

Status Beneath::make_directories(std::string_view path) const {
    if (auto ok = check(path); !ok) return ok;
    UniqueFd at(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0));
    if (!at) return path_error(errno, path);
    std::string_view rest = path;
    int depth = 0;
    while (!rest.empty()) {
        auto const slash = rest.find('/');
        std::string const part(rest.substr(0, slash));
        rest = slash == rest.npos ? std::string_view{} : rest.substr(slash + 1);
        if (part.empty() || part == ".") continue;
        if (part == "..") return error(errc::denied, std::string(path) + " contains \"..\"; expected a plain path");
        if (++depth > kMaxDepth) return error(errc::limit, std::string(path) + " is nested deeper than 256 levels");
        if (::mkdirat(at.get(), part.c_str(), 0755) < 0 && errno != EEXIST) return path_error(errno, path);
        int const next = ::openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0) {
            int const saved = errno;
            struct stat st{};
            bool const link = ::fstatat(at.get(), part.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
            return path_error(link ? ELOOP : saved, path);
        }
        at.reset(next);
    }
    return {};
}

Status Beneath::settle(int file, int dir) const {
    if (auto s = sys::fsync(file, "file"); !s) return s;
    if (sync_ == Sync::ordered) return {};
    return sys::fsync(dir, "directory");
}

Status Beneath::replace(std::string_view path, std::string_view bytes, mode_t mode) const {
    auto file = incoming(path, mode);
    if (!file) return file.error();
    if (auto s = file->write(bytes); !s) return s;
    return file->commit();
}

Result<Beneath::Incoming> Beneath::incoming(std::string_view path, mode_t mode) const {
    auto parent = parent_of(path, true);
    if (!parent) return parent.error();
    int const dir = parent->dir.get();
    struct stat old{};
    if (::fstatat(dir, parent->name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(old.st_mode)) return path_error(EISDIR, path);
        if (S_ISLNK(old.st_mode)) return path_error(ELOOP, path);
        if (!S_ISREG(old.st_mode)) return path_error(ENXIO, path);
        mode = old.st_mode & 0777;
    }
    std::string temporary = std::string(kTemporary) + random_id(10);
    auto const staging = staging_or(dir) == dir ? nullptr : staging_;
    UniqueFd file(::openat(staging ? staging->get() : dir, temporary.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return path_error(errno, path);
    Incoming result;
    result.dir_ = std::move(parent->dir);
    result.staging_ = staging;
    result.file_ = std::move(file);
    result.temporary_ = std::move(temporary);
    result.name_ = std::move(parent->name);
    result.path_ = path;
    result.mode_ = mode;
    result.sync_ = sync_;
    return result;
}

Beneath::Incoming::Incoming(Incoming&& other) noexcept
    : dir_(std::move(other.dir_)), staging_(std::move(other.staging_)), file_(std::move(other.file_)),
      temporary_(std::exchange(other.temporary_, {})), name_(std::move(other.name_)), path_(std::move(other.path_)),
      mode_(other.mode_), sync_(other.sync_) {}

Beneath::Incoming::~Incoming() {
    if (!temporary_.empty()) ::unlinkat(made_in(), temporary_.c_str(), 0);
}

int Beneath::Incoming::made_in() const { return staging_ ? staging_->get() : dir_.get(); }

Status Beneath::Incoming::write(std::string_view bytes) { return sys::write_all(file_.get(), bytes, path_); }

Status Beneath::Incoming::commit() {
    if (::fchmod(file_.get(), mode_) < 0) return path_error(errno, path_);
    if (sync_ == Sync::ordered) {
        // Data out and blocks allocated before the name changes, so that the rename's transaction carries them.
        if (::sync_file_range(file_.get(), 0, 0,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
            return path_error(errno, path_);
    } else if (auto s = sys::fsync(file_.get(), path_); !s) {
        return s;
    }
    if (::renameat(made_in(), temporary_.c_str(), dir_.get(), name_.c_str()) < 0) return path_error(errno, path_);
    temporary_.clear();
    return sys::fsync(sync_ == Sync::ordered ? file_.get() : dir_.get(), path_);
}

Status Beneath::append(std::string_view path, std::string_view bytes) const {
    auto parent = parent_of(path, true);
    if (!parent) return parent.error();
    UniqueFd file(::openat(parent->dir.get(), parent->name.c_str(),
                           O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644));
    if (!file) return path_error(errno, path);
    struct stat st{};
    if (::fstat(file.get(), &st) < 0) return path_error(errno, path);
    if (!S_ISREG(st.st_mode)) return path_error(ENXIO, path);
    if (auto s = sys::write_all(file.get(), bytes, std::string(path)); !s) return s;
    return settle(file.get(), parent->dir.get());
}

Status Beneath::rename(std::string_view from, std::string_view to, bool overwrite) const {
    auto a = parent_of(from, false);
    if (!a) return a.error();
    auto b = parent_of(to, true);
    if (!b) return b.error();
    unsigned const flags = overwrite ? 0 : RENAME_NOREPLACE;
    if (::renameat2(a->dir.get(), a->name.c_str(), b->dir.get(), b->name.c_str(), flags) < 0)
        return path_error(errno, errno == EEXIST || errno == ENOTEMPTY ? to : from);
    if (auto s = sys::fsync(a->dir.get(), std::string(from)); !s) return s;
    return sys::fsync(b->dir.get(), std::string(to));
}

Status Beneath::remove(std::string_view path, bool recursive) const {
    auto parent = parent_of(path, false);
    if (!parent) return parent.error();
    int const dir = parent->dir.get();
    if (::unlinkat(dir, parent->name.c_str(), 0) < 0) {
        if (errno != EISDIR && errno != EPERM) return path_error(errno, path);
        if (recursive) {
            auto child = open_child_dir(dir, parent->name, path);
            if (!child) return child.error();
            if (auto s = remove_contents(std::move(*child), std::string(path), 0); !s) return s;
        }
        if (::unlinkat(dir, parent->name.c_str(), AT_REMOVEDIR) < 0) return path_error(errno, path);
    }
    return sys::fsync(dir, std::string(path));
}

Status Beneath::copy(std::string_view from, std::string_view to, std::uint64_t max_bytes, std::size_t max_entries) const {
    auto a = parent_of(from, false);
    if (!a) return a.error();
    auto b = parent_of(to, true);
    if (!b) return b.error();
    struct stat st{};
    if (::fstatat(b->dir.get(), b->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return path_error(EEXIST, to);
    // Under a temporary name, so that a half copy is never seen under the real one.
    std::string const temporary = std::string(kTemporary) + random_id(10);
    struct stat into{};
    if (::fstat(b->dir.get(), &into) < 0) return path_error(errno, to);
    CopyBudget budget{max_bytes, max_entries, into.st_dev, into.st_ino};
    int const staging = staging_or(b->dir.get());
    auto copied = copy_entry(a->dir.get(), a->name, staging, temporary, std::string(from), budget, 0);
    if (copied && ::renameat2(staging, temporary.c_str(), b->dir.get(), b->name.c_str(), RENAME_NOREPLACE) < 0)
        copied = path_error(errno, to);
    if (!copied) {
        if (::unlinkat(staging, temporary.c_str(), 0) < 0)
            if (auto child = open_child_dir(staging, temporary, to)) {
                (void)remove_contents(std::move(*child), temporary, 0);
                ::unlinkat(staging, temporary.c_str(), AT_REMOVEDIR);
            }
        return copied;
    }
    return sys::fsync(b->dir.get(), std::string(to));
}

Status Beneath::walk(std::string_view path, std::function<bool(std::string const&, Entry const&)> const& visit) const {
    auto fd = resolve(path, O_RDONLY | O_DIRECTORY, 0);
    if (!fd) return fd.error();
    bool go_on = true;
    return walk_directory(fd->get(), "", 0, go_on, visit);
}

}  // namespace base
