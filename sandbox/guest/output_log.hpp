#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace guest {

/// What one command wrote, by absolute offset: the last MiB in memory, and once there was more, all of it (up to a cap) in
/// a file, whose path the user may open. Without a writable file the first 64 KiB stay in memory instead.
class OutputLog {
  public:
    explicit OutputLog(std::string spool_path) : path_(std::move(spool_path)) {}
    OutputLog(OutputLog const&) = delete;
    OutputLog& operator=(OutputLog const&) = delete;
    ~OutputLog();

    void append(std::string_view bytes);
    /// Up to `max` bytes from `offset`, or from the next offset that is still there. `offset` becomes that of the first
    /// byte of the answer.
    std::string read(std::uint64_t& offset, std::size_t max) const;

    std::uint64_t total() const { return total_; }
    std::uint64_t first_kept() const { return ring_first_; }
    std::string const& spool_path() const;          ///< "" while there is no file
    std::size_t memory() const { return ring_.capacity() + head_.capacity(); }
    void release_memory();                          ///< moves what only memory holds to the file first
    void close_spool();                             ///< until the next append; the file stays
    void remove_spool();

  private:
    enum class Spool { none, open, closed, ended };

    void start_spool();
    void write_spool(std::string_view bytes);
    std::string from_ring(std::uint64_t offset, std::size_t max) const;

    std::string path_;
    std::string head_;
    std::string ring_;                              // byte `o` is at ring_[o % kRing]
    std::uint64_t ring_first_ = 0;
    std::uint64_t total_ = 0;
    std::uint64_t spooled_ = 0;
    Spool spool_ = Spool::none;
    int fd_ = -1;
};

}  // namespace guest
