#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <sys/types.h>

#include <string>

// Loop devices by their ioctls (loop(4)), because losetup would cost a process for each volume.
namespace workspace::loop {

/// A device backed by a file. It frees itself when the last user is gone (LO_FLAGS_AUTOCLEAR): keep `fd`
/// until it is mounted.
struct Device {
    base::UniqueFd fd;
    std::string path;  // /dev/loopN
};

/// A device for this image. One that already backs the same file is used again: two devices for one image
/// would be two caches of one file system, and a mount left in another mount namespace can keep the first
/// alive. Blocks.
base::Result<Device> attach(std::string const& image);

/// Whether any device is backed by this file.
bool attached(dev_t device, ino_t inode);

}  // namespace workspace::loop
