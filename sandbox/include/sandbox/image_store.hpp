#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/ids.hpp>
#include <base/result.hpp>
#include <sandbox/image.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sandbox {

/// A directory of its own that a checkpoint is written into. Nobody sees it as an image before it is published.
struct ImageDraft {
    ImageRef ref;
    std::string directory;
    std::uint64_t reserved = 0;                    ///< bytes counted against the store's bound until it is settled
    bool short_lived = false;                      ///< for the caller to set: gone in a moment, and not worth packing
    bool confidential = false;                     ///< for the caller to set: unreadable on disk without the store's key
};

struct ImageInfo {
    ImageRef ref;
    ImageFacts facts;
    std::int64_t created_ms = 0;                   ///< Unix time
    std::uint64_t bytes = 0;                       ///< of its files, unpacked; holes and sharing with a clone not taken off
};

/// A sound image in a local directory, ready for Sandboxes::restore.
struct OpenImage {
    ImageInfo info;
    std::string directory;
    std::shared_ptr<void const> keeps;             ///< what `directory` may last for; let go on the I/O thread
};

/// Memory images of sandboxes. An image is written aside, sealed with the node's key over every byte and over what it
/// is, made durable, and published in one step; what is not published does not exist. The interface leaves room for a store
/// elsewhere: callers see local directories only between `begin` and `publish`, and from `open` until they let go.
/// Errors: image_errc as said there; base::errc::limit when it would not fit, base::errc::not_found.
/// Threads: the I/O thread; work on files runs on the blocking pool.
class ImageStore {
  public:
    virtual ~ImageStore() = default;

    /// Refused with base::errc::limit when `expected_bytes` would pass the node's bound or the disk's free space.
    virtual base::Task<base::Result<ImageDraft>> begin(ImageRef ref, std::uint64_t expected_bytes) = 0;
    /// Seals, flushes and renames into place. base::errc::exists when there is such an image. On failure the draft is gone.
    virtual base::Task<base::Result<ImageInfo>> publish(ImageDraft draft, ImageFacts facts) = 0;
    virtual base::Task<void> discard(ImageDraft draft) = 0;    ///< removes it, and gives back what it had reserved

    /// Checks the seal over all bytes, that it is the image `ref` says, and that it fits `here` (stamp, builds, processor;
    /// an empty guest build fits any). The error tells which of these failed.
    virtual base::Task<base::Result<OpenImage>> open(ImageRef ref, ImageFacts here) = 0;
    /// A second image of the same bytes, sealed for `to`, without copying them: for forks.
    virtual base::Task<base::Result<ImageInfo>> clone(ImageRef from, ImageRef to) = 0;
    virtual base::Task<base::Status> remove(std::string workspace_id, std::string image_id) = 0;   ///< a missing one is fine
    virtual base::Task<base::Status> remove_workspace(std::string workspace_id) = 0;               ///< all of its images

    /// What is published, by what it says about itself; the contents are not verified. "" lists every workspace's.
    virtual base::Task<base::Result<std::vector<ImageInfo>>> list(std::string workspace_id) = 0;
    /// At start: removes what a crash left half written. Returns how many.
    virtual base::Task<base::Result<int>> sweep() = 0;

    struct Use {
        std::uint64_t bytes = 0, max_bytes = 0;    ///< allocated on disk, shared bytes once; reservations included
        int images = 0;
    };
    virtual Use use() const = 0;
};

enum class Compression { none, zstd };

struct LocalImages {
    std::string directory;                         ///< DIR/images; made 0700
    base::Secret key;                              ///< 32 bytes or more, kept elsewhere: whoever has it can forge
    std::uint64_t max_bytes = 64ull << 30;
    std::uint64_t keep_free = 1ull << 30;          ///< of the disk
    Compression compression = Compression::none;   ///< of new images whose pages get smaller by it; either kind is read
};
/// Images below one directory: <workspace>/<image>/ with the runtime's files and `manifest.json`.
base::Result<std::unique_ptr<ImageStore>> open_local_images(base::BlockingPool&, LocalImages);

}  // namespace sandbox
