#include "upper.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

namespace sandbox::native {

namespace {

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
    if (auto s = move_owner(directory, first, wanted, count); !s) return s;
    std::error_code ec;
    // Links are not followed (std::filesystem::directory_options). A file of several names would be moved
    // once and then left.
    for (std::filesystem::recursive_directory_iterator it(directory, ec), end; !ec && it != end;
         it.increment(ec))
        if (auto s = move_owner(it->path(), first, wanted, count); !s) return s;
    if (ec) return base::Error{ec, "read " + directory};
    return {};
}

}  // namespace sandbox::native
