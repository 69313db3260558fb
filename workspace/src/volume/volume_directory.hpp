#pragma once
#include <base/beneath.hpp>
#include <base/result.hpp>
#include <workspace/volume.hpp>

#include <memory>
#include <string>
#include <vector>

// One volume on the host: <directory>/image, and <directory>/fs where it is mounted. Without an image, fs is
// a plain directory. Both are below one directory, so one rename gives a stocked volume its name: renaming a
// directory above a mount is allowed while renaming a mount point, or moving a mount below a shared one, is
// not. Everything here blocks.
namespace workspace::volume_directory {

/// An open volume. Its descriptors keep the mount busy: drop it before unmounting.
class OpenVolume : public Volume {
  public:
    OpenVolume(std::string id, std::string host_directory, base::Beneath files, base::Beneath home)
        : id_(std::move(id)),
          host_directory_(std::move(host_directory)),
          files_(std::move(files)),
          home_(std::move(home)) {}
    std::string const& id() const override { return id_; }
    std::string const& host_directory() const override { return host_directory_; }
    base::Beneath const& files() const override { return files_; }
    base::Beneath const& home() const override { return home_; }
    void rename(std::string id, std::string host_directory) {
        id_ = std::move(id);
        host_directory_ = std::move(host_directory);
    }

  private:
    std::string id_, host_directory_;
    base::Beneath files_, home_;
};

inline constexpr char const* kStaging = ".berth-staging";  ///< in fs, beside workspace and home

bool has_image(std::string const& directory);
bool is_mounted(std::string const& directory);

/// The directory with an empty, sparse image. The caller formats it.
base::Status prepare_image(std::string const& directory, std::uint64_t bytes);
std::vector<std::string> format_command(std::string const& directory, std::uint64_t bytes);

/// Makes workspace/ and home/ in a fresh volume, and the whole durable.
base::Status furnish(std::string const& directory);
/// Mounts an image that is not mounted. The system's error when the kernel does not take it.
base::Status mount_image(std::string const& directory);
/// Whether such an error says that the file system is damaged, and e2fsck may help.
bool looks_damaged(base::Error const& e);
base::Result<std::shared_ptr<OpenVolume>> open(std::string const& id, std::string const& directory);

/// Unmounts; errc::busy when it is in use. A plain directory has nothing to unmount. With `some` patience
/// (half a second) it waits for users that are on their way out, and gives freed blocks back to the host.
enum class Patience { none, some };
base::Status unmount(std::string const& directory, Patience patience);
/// Unmounts, lazily when it must, and deletes all of it.
base::Status destroy(std::string const& directory);

base::Status sync_directory(std::string const& path);

}  // namespace workspace::volume_directory
