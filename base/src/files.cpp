#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>

#include <filesystem>

namespace base {

Result<std::string> read_file(std::string const& path, std::size_t max) {
    auto fd = sys::open(path, O_RDONLY);
    if (!fd) return fd.error();
    return sys::read_all(fd->get(), max, path);
}

Status replace_file(std::string const& path, std::string_view bytes, mode_t mode) {
    auto const parent = std::filesystem::path(path).parent_path().string();
    std::string const temporary = path + ".new-" + random_id(8);
    auto fd = sys::open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (!fd) return fd.error();
    auto written = [&]() -> Status {
        if (auto s = sys::write_all(fd->get(), bytes, "write " + temporary); !s) return s;
        if (auto s = sys::fsync(fd->get(), temporary); !s) return s;
        return sys::rename(temporary, path);
    }();
    if (!written) {
        (void)sys::unlink(temporary);
        return written;
    }
    auto dir = sys::open(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
    if (!dir) return dir.error();
    return sys::fsync(dir->get(), parent);
}

Status write_knob(std::string const& path, std::string_view value) {
    auto fd = sys::open(path, O_WRONLY);
    if (!fd) return fd.error();
    auto n = sys::write(fd->get(), value);
    if (!n) return wrap(n.error(), std::string(value) + " to " + path);
    return {};
}

Status remove_tree(std::string const& path) {
    std::error_code ec;
    // What somebody else takes away at the same time is gone all the same.
    for (int tries = 0; tries < 8; ++tries) {
        std::filesystem::remove_all(path, ec);
        if (ec != std::errc::no_such_file_or_directory) break;
    }
    if (ec) return Error{boost::system::error_code(ec.value(), boost::system::system_category()), "remove " + path};
    return {};
}

}  // namespace base
