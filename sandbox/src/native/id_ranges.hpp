#pragma once
#include "../slot.hpp"

#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sandbox::native {

/// Who has which user ids of this machine: each sandbox a range of its own, also among several servers. A range is a link, named
/// by its first id, to the slot that has it; one whose slot is gone is free. A value: nothing is held but the directory's name.
/// Threads: any; blocks for microseconds.
class IdRanges {
  public:
    static constexpr std::uint32_t kIds = 65'536;
    /// Above what systemd gives to containers, and below 2^31, beyond which numbers turn negative in some programs.
    static constexpr std::uint32_t kFirst = 1'879'048'192, kEnd = 1u << 31;
    static constexpr char const* kDirectory = "/run/berth/ids";

    explicit IdRanges(std::string directory = kDirectory) : directory_(std::move(directory)) {}

    /// The first id. errc::limit when all are taken.
    base::Result<std::uint32_t> take(Slot const& slot) const;
    void give_back(std::uint32_t first, Slot const& slot) const;
    /// The range of a slot; 0 when it has none.
    std::uint32_t of(Slot const& slot) const;
    /// Slots below `slots` that have a range.
    std::vector<std::string> holders(std::string const& slots) const;

  private:
    std::string directory_;
};

}  // namespace sandbox::native
