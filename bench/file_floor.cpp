#include "file_floor.hpp"

#include "interrupt.hpp"
#include <base/syscalls.hpp>

#include <fcntl.h>

#include <cstdio>

namespace bench {

FileFloor::FileFloor(std::string const& directory)
    : directory_(base::sys::open(directory, O_RDONLY | O_DIRECTORY).value()) {}

Clock::duration FileFloor::replace(std::string const& name, std::string const& bytes) const {
    throw_if_interrupted();
    constexpr char const* kNew = ".bench-new";
    int const dir = directory_.get();
    auto const began = Clock::now();
    {
        auto const file = base::sys::openat(dir, kNew, O_WRONLY | O_CREAT | O_EXCL, 0644).value();
        base::sys::write_all(file.get(), bytes, name).value();
        base::sys::fsync(file.get(), name).value();
    }
    if (::renameat(dir, kNew, dir, name.c_str()) != 0)
        throw Failure(base::errno_error("rename " + name).message());
    base::sys::fsync(dir, "the directory").value();
    return Clock::now() - began;
}

Clock::duration FileFloor::read(std::string const& name, std::size_t expected) const {
    throw_if_interrupted();
    auto const began = Clock::now();
    std::string const text = [&] {
        auto const file = base::sys::openat(directory_.get(), name, O_RDONLY).value();
        return base::sys::read_all(file.get(), expected + 1, name).value();
    }();
    auto const took = Clock::now() - began;
    if (text.size() != expected)
        throw Failure("read " + name + ": " + std::to_string(text.size()) + " bytes");
    return took;
}

}  // namespace bench
