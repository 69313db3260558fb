#include "upper.hpp"

#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace sandbox::native {

namespace {

constexpr std::size_t kMaxPath = 4'000;  // PATH_MAX, and tar's own "./"

base::Status run_tar(std::vector<std::string> words) {
    words.insert(words.begin(), "tar");
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    char const* const env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", nullptr};
    pid_t const pid = ::fork();
    if (pid < 0) return base::errno_error("fork");
    if (pid == 0) {
        ::execvpe("tar", argv.data(), const_cast<char* const*>(env));
        ::_exit(127);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return base::errno_error("wait for tar");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return base::error(
        base::errc::unavailable,
        "tar ended with status " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1));
}

/// `visit` for the directory and each name below it. By fts, which goes from directory to directory: paths may be longer than a
/// system call takes. Links are not followed.
base::Status each_below(std::string directory, int more, std::function<base::Status(FTSENT const&)> const& visit) {
    char* const roots[] = {directory.data(), nullptr};
    std::unique_ptr<FTS, int (*)(FTS*)> const walk(::fts_open(roots, FTS_PHYSICAL | more, nullptr), ::fts_close);
    if (!walk) return base::errno_error("read " + directory);
    for (;;) {
        errno = 0;
        FTSENT* const entry = ::fts_read(walk.get());
        if (!entry) break;
        if (entry->fts_info == FTS_DP) continue;
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
            errno = entry->fts_errno;
            return base::errno_error(std::string("read ") + entry->fts_path);
        }
        if (auto s = visit(*entry); !s) return s;
    }
    if (errno != 0) return base::errno_error("read " + directory);
    return {};
}

base::Status move_owner(std::string const& path, std::uint32_t first, std::uint32_t wanted,
                        std::uint32_t count) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) return base::errno_error("stat " + path);
    auto const moved = [&](std::uint32_t id) {
        return id >= first && id - first < count ? id - first + wanted : id;
    };
    if (::lchown(path.c_str(), moved(st.st_uid), moved(st.st_gid)) != 0)
        return base::errno_error("chown " + path);
    // Another owner takes these bits off.
    if (S_ISREG(st.st_mode) && (st.st_mode & (S_ISUID | S_ISGID)) &&
        ::chmod(path.c_str(), st.st_mode & 07777) != 0)
        return base::errno_error("chmod " + path);
    return {};
}

}  // namespace

base::Status pack_upper(std::string const& directory, std::string const& archive) {
    // tar reads what it could not write again.
    auto s = each_below(directory, FTS_NOSTAT, [&](FTSENT const& entry) -> base::Status {
        if (std::strlen(entry.fts_path) <= directory.size() + kMaxPath) return {};
        return base::error(base::errc::invalid, "a path of more than " + std::to_string(kMaxPath) + " bytes, below " +
                                                    std::string(entry.fts_path + directory.size(), 100));
    });
    if (!s) return s;
    return run_tar({"--create", "--file", archive, "--directory", directory, "--numeric-owner", "--sparse",
                    "--xattrs", "--xattrs-include=*", "--warning=no-file-ignored", "."});
}

base::Status unpack_upper(std::string const& archive, std::string const& directory, std::uint32_t first,
                          std::uint32_t wanted, std::uint32_t count) {
    if (auto s = run_tar({"--extract", "--file", archive, "--directory", directory, "--numeric-owner",
                          "--same-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"});
        !s)
        return s;
    if (first == wanted) return {};
    // A file of several names would be moved once and then left.
    return each_below(directory, 0, [&](FTSENT const& entry) { return move_owner(entry.fts_accpath, first, wanted, count); });
}

}  // namespace sandbox::native
