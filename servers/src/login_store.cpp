#include "login_store.hpp"

#include "program.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace servers {
namespace {

constexpr std::size_t kMaxRecord = 256 * 1024;

}  // namespace

std::string LoginStore::file_of(std::string const& server) const {
    return directory_ + "/" + id_of(server) + ".json";
}

base::Result<base::Secret> LoginStore::load(std::string const& server) const {
    auto const path = file_of(server);
    auto const fd = base::sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!fd) {
        if (fd.error().code == boost::system::errc::no_such_file_or_directory) return base::Secret();
        return fd.error();
    }
    struct stat st {};
    if (::fstat(fd->get(), &st) != 0) return base::errno_error("look at " + path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || st.st_uid != ::geteuid())
        return base::error(base::errc::denied, path + " can be read by others: run chmod 600 on it, or log in again");
    auto text = base::sys::read_all(fd->get(), kMaxRecord, "read " + path);
    if (!text) return text.error();
    return base::Secret(std::move(*text));
}

base::Status LoginStore::save(std::string const& server, base::Secret const& record) const {
    if (record.reveal().size() > kMaxRecord)
        return base::error(base::errc::limit, "what the authorization server gave is too large to be kept");
    if (auto s = base::sys::mkdir(directory_, 0700); !s) return s;
    return base::replace_file(file_of(server), record.reveal(), 0600);
}

base::Status LoginStore::remove(std::string const& server) const {
    auto const path = file_of(server);
    if (::unlink(path.c_str()) == 0) return {};
    if (errno == ENOENT) return base::error(base::errc::not_found, "there is no login for " + server);
    return base::errno_error("remove " + path);
}

std::string LoginStore::stamp(std::string const& server) const {
    struct stat st {};
    if (::lstat(file_of(server).c_str(), &st) != 0) return {};
    return std::to_string(st.st_ino) + ':' + std::to_string(st.st_mtim.tv_sec) + '.' +
           std::to_string(st.st_mtim.tv_nsec);
}

}  // namespace servers
