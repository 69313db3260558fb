#pragma once
#include <base/result.hpp>

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace sandbox::native {

/// Who has which user ids of this machine: each sandbox a range of its own, also among several servers. A range is a link named by its
/// first id, whose text says which process answers for it and for which slot (its directory). While that process lives the range is
/// taken: at first the server, then the sandbox itself. So it outlasts a server that is killed, and whether others can see the slot, in a
/// mount namespace of their own, does not matter.
/// Does not stop: servers that share no /run, in containers of their own, from choosing the same. Nothing rests on the range alone.
/// A value: nothing is held but the directory's name. Threads: any; blocks for microseconds.
class IdRanges {
  public:
    static constexpr std::uint32_t kIds = 65'536;
    /// Above what systemd gives to containers, and below 2^31, beyond which numbers turn negative in some programs.
    static constexpr std::uint32_t kFirst = 1'879'048'192, kEnd = (1u << 31) - kIds;
    /// Of what runs in a jail (sandbox/jail.hpp): nobody else's either.
    static constexpr std::uint32_t kJailed = kEnd;
    static constexpr char const* kDirectory = "/run/berth/ids";

    explicit IdRanges(std::string directory = kDirectory) : directory_(std::move(directory)) {}

    /// The first id, for which this process answers until `hand_over`. errc::limit when all are taken.
    base::Result<std::uint32_t> take(std::string const& slot) const;
    /// Process `pid` answers from now on. errc::stale: whoever did has ended, and the range may have been given to another slot.
    base::Status hand_over(std::uint32_t first, std::string const& slot, pid_t pid) const;
    void give_back(std::uint32_t first, std::string const& slot) const;
    /// The range of a slot; 0 when it has none.
    std::uint32_t of(std::string const& slot) const;
    /// Names of the slots below `slots` that have a range.
    std::vector<std::string> holders(std::string const& slots) const;

  private:
    std::string link(std::uint32_t first) const { return directory_ + "/" + std::to_string(first); }
    std::string directory_;
};

}  // namespace sandbox::native
