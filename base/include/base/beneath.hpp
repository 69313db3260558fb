#pragma once
#include <base/result.hpp>
#include <base/unique_fd.hpp>
#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace base {

/// The one module that opens paths in trees which clients and sandboxes write. Every path is relative to
/// an open directory and resolved by openat2(2): it cannot leave the tree, whatever is renamed or linked meanwhile.
/// Links are followed for reading where the kernel keeps them beneath, never on the way to a create, rename or delete.
/// Only regular files and directories are opened, without blocking on anything else.
///
/// Errors: errc::denied (the path leaves the tree, or passes a link where none is followed), errc::not_found,
/// errc::invalid (empty, NUL, longer than kMaxPath, not a regular file), or the system's. All calls may block.
/// Thread safety: as a descriptor; const calls from any thread.
class Beneath {
  public:
    static constexpr std::size_t kMaxPath = 4095;    // PATH_MAX less its zero
    static constexpr int kMaxDepth = 256;            // of trees walked or removed: one descriptor a level

    /// How `replace` and friends reach the disk. `ordered` is for our own ext4 images (data=ordered, auto_da_alloc):
    /// writing the data out, renaming and one fsync commit both in one journal transaction, half the price.
    enum class Sync { portable, ordered };

    /// `path` is the operator's or ours.
    static Result<Beneath> open(std::string const& path, Sync sync = Sync::portable);

    /// Files and copies are made in `directory`, of the same mounted file system, and moved to their place when they are whole:
    /// what a crash leaves of one lies there, for the owner to throw away. Without it, or when it was removed, beside their
    /// place, as ".berth-tmp-...". Directories opened from this one do the same.
    void stage_in(Beneath const& directory);

    enum class Kind { file, directory, link, other };
    struct Entry {
        std::string name;
        Kind kind = Kind::other;
        std::uint64_t size = 0;
        std::int64_t modified_ms = 0;    ///< Unix time
        mode_t mode = 0;
    };

    /// A regular file for reading, links followed beneath.
    Result<UniqueFd> open_file(std::string_view path) const;
    /// A directory, links followed beneath; "." is the root itself.
    Result<Beneath> open_directory(std::string_view path) const;
    /// Of the object itself when `follow` is false.
    Result<Entry> stat(std::string_view path, bool follow = true) const;
    /// Whole file up to `max` bytes, else errc::limit.
    Result<std::string> read(std::string_view path, std::size_t max) const;
    /// The same when path and content lie in the kernel's memory: does not wait for a disk to read, so the I/O thread may ask.
    /// nullopt otherwise, whatever the reason (also for a file that is not ours): `read` tells it.
    std::optional<std::string> read_cached(std::string_view path, std::size_t max) const;

    /// Names in a directory, unsorted, at most `max`; `more` tells that some were left out.
    Result<std::vector<Entry>> list(std::string_view path, std::size_t max, bool& more) const;

    /// Creates missing parents (0755), then puts `bytes` there: the old file or the new one stands after a crash, and the
    /// new one once this returns. An existing file keeps its mode; the new one gets `mode`.
    Status replace(std::string_view path, std::string_view bytes, mode_t mode = 0644) const;
    /// The same for what comes piece by piece: it grows beside its name, which `commit` gives to it. Dropped without, it
    /// leaves nothing behind. May outlive the Beneath it came from.
    class Incoming;
    Result<Incoming> incoming(std::string_view path, mode_t mode = 0644) const;
    /// Creates or extends a file, durable on return.
    Status append(std::string_view path, std::string_view bytes) const;
    /// The directory and those above it that are missing (0755); one that is there is fine. errc::limit: deeper than 256.
    Status make_directories(std::string_view path) const;
    /// Refused with errc::exists when something is at `to` and `overwrite` is false. `to`'s parents are created.
    Status rename(std::string_view from, std::string_view to, bool overwrite) const;
    /// A file, a link, or a directory with all below it when `recursive`.
    Status remove(std::string_view path, bool recursive) const;
    /// A file or a tree; links are copied as links. Stops with errc::limit beyond `max_bytes` or `max_entries`.
    Status copy(std::string_view from, std::string_view to, std::uint64_t max_bytes, std::size_t max_entries) const;

    /// Depth first, in name order within a directory. The visitor gets the path relative to `path`; for a directory it
    /// returns whether to go in, for anything else whether to go on at all. Links are reported, not followed.
    Status walk(std::string_view path, std::function<bool(std::string const&, Entry const&)> const& visit) const;

    int fd() const { return root_.get(); }

  private:
    Beneath(UniqueFd root, Sync sync) : root_(std::move(root)), sync_(sync) {}
    struct Parent;
    Result<UniqueFd> resolve(std::string_view path, int flags, std::uint64_t extra_resolve) const;
    Result<Parent> parent_of(std::string_view path, bool create) const;
    Status settle(int file, int dir) const;
    int staging_or(int directory) const;

    UniqueFd root_;
    Sync sync_;
    std::shared_ptr<UniqueFd const> staging_;    // of all that were opened from one another
};

/// A file on its way: see Beneath::incoming. Like everything here it blocks, and is one thread's at a time.
class Beneath::Incoming {
  public:
    Incoming(Incoming&&) noexcept;
    Incoming& operator=(Incoming&&) = delete;
    ~Incoming();
    Status write(std::string_view bytes);    ///< adds all of them; after a failure only destruction is left
    /// Once, at the end: durable under its name when this returns. After a failure the name may have either file.
    Status commit();

  private:
    friend class Beneath;
    Incoming() = default;
    int made_in() const;
    UniqueFd dir_;
    std::shared_ptr<UniqueFd const> staging_;    // null: in dir_
    UniqueFd file_;
    std::string temporary_, name_, path_;        // temporary_ is "" once there is none; path_ is for messages
    mode_t mode_ = 0;
    Sync sync_ = Sync::portable;
};

}  // namespace base
