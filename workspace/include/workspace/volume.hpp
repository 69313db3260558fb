#pragma once
#include <base/asio.hpp>
#include <base/beneath.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace workspace {

/// A workspace's files: one ext4 image, mounted on the host while the workspace is awake or its files are used. The image's size is the
/// quota in bytes and inodes, which a runaway program hits as ENOSPC. Sparse, so that an empty one costs about a megabyte.
/// Choice (2026-11-25): measured here against btrfs subvolumes with qgroups (fsync 3 x slower than the host's ext4) and project quotas
/// (off in most installed file systems); an image with fast_commit writes a durable 4 KiB in about the time of the host's own.
class Volume {
  public:
    virtual ~Volume() = default;                       ///< does not unmount: VolumeStore owns mounts
    virtual std::string const& id() const = 0;
    virtual std::string const& host_directory() const = 0;   ///< the mount point; has workspace/ and home/
    virtual base::Beneath const& files() const = 0;          ///< beneath workspace/
    virtual base::Beneath const& home() const = 0;           ///< beneath home/
};

struct VolumeUsage {
    std::uint64_t bytes = 0, bytes_limit = 0, inodes = 0, inodes_limit = 0;
};

struct VolumeCopy {
    std::uint64_t bytes = 0;                           ///< that it takes on the disk; blocks shared with its origin count
    bool shared = false;                               ///< by reflink, so that it took no time
};

/// Owns DIR/volumes: images, their loop devices and mounts. A stock of new, mounted, durable volumes of the default size makes `take` touch nothing.
/// Where loop devices cannot be had, volumes are plain directories without a hard quota, and `quota_enforced()` says so.
/// Threads: the I/O thread; the slow parts run on the pool.
class VolumeStore {
  public:
    struct Options {
        std::string directory;                         ///< 0700
        std::uint64_t default_bytes = 10ull << 30;
        int stock = 4;
        bool use_images = true;                        ///< false: plain directories, as where loop devices cannot be had
    };
    virtual ~VolumeStore() = default;
    /// Makes the directory when it is missing, and lets volumes go on that a killed server left standing still; mounts nothing yet.
    static base::Result<std::unique_ptr<VolumeStore>> open(asio::io_context&, base::BlockingPool&, Options);

    /// A new volume with an id of its own, mounted and durable: a record may name it at once. From the stock when it is of the
    /// default size, or when `bytes` is 0.
    virtual base::Task<base::Result<std::shared_ptr<Volume>>> take(std::uint64_t bytes) = 0;
    /// The same under this id, made anew. errc::exists when the id is taken.
    virtual base::Task<base::Result<std::shared_ptr<Volume>>> create(std::string id, std::uint64_t bytes) = 0;
    /// Mounts it when it is not; one mount however many callers. errc::not_found, errc::corrupt (fsck could not repair it).
    virtual base::Task<base::Result<std::shared_ptr<Volume>>> open_volume(std::string id) = 0;
    /// A new volume `to` with the content of `from` at one instant, durable, not mounted. Writers to a mounted image wait
    /// meanwhile; those to a plain directory have to stand still (its sandbox paused). By reflink where the disk's file system
    /// can, else as long as copying the data takes. errc::not_found, errc::exists, errc::limit: no space; errc::timed_out: it
    /// took longer than `limit` (0 = none), and there is no copy.
    virtual base::Task<base::Result<VolumeCopy>> clone(std::string from, std::string to,
                                                       base::milliseconds limit = base::milliseconds(0)) = 0;
    /// Unmounts it, when nothing uses it (errc::busy otherwise). The image stays.
    virtual base::Task<base::Status> release(std::string id) = 0;
    virtual base::Task<base::Status> remove(std::string id) = 0;          ///< a missing one is fine
    /// statfs: microseconds. Zeroes when it is not mounted.
    virtual base::Result<VolumeUsage> usage_of(std::string const& id) const = 0;
    /// At start: finishes what a crash left. Volumes not in `known` are removed; mounts of known ones that are still used are kept.
    virtual base::Task<int> recover(std::set<std::string> known) = 0;
    virtual void start_stocking() = 0;                     ///< in the background, until `stop`
    virtual std::size_t stocked() const = 0;               ///< volumes that nobody has taken yet
    /// Ends the stock and, when asked, unmounts what nothing uses. Before the object is destroyed, once stocking was started.
    virtual base::Task<void> stop(bool unmount_all) = 0;
    /// Known once the first volume was made; taken for granted until then.
    virtual bool quota_enforced() const = 0;
};

}  // namespace workspace
