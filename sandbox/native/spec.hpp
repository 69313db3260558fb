#pragma once
#include <base/json.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sandbox::native {

/// What `berth-contain` is told about one sandbox, in a file of the slot. Made by the server from its own settings.
struct Spec {
    struct Bind {
        std::string from, to;                    ///< a host's directory, and where it appears inside, read-only
    };
    std::string rootfs;                          ///< of the template, absolute
    std::string guest_binary;
    std::string slot_mount;                      ///< what the sandbox sees at /berth; host mounts into it reach inside
    std::string directory;                       ///< an empty one of the slot, where its root is put together; DIRECTORY/upper
                                                 ///< becomes a file system in memory, which the host sees too, and keeps what
                                                 ///< the sandbox writes over its template in `up`
    std::vector<Bind> binds;
    std::uint32_t first_id = 0;                  ///< of kIds user and group ids of the host, which are 0 to kIds-1 inside
    std::string id_ranges, slot;                 ///< where ranges are noted (IdRanges), and for whom this one is
    std::string pid_file;                        ///< gets the host's number of process 1, once its program runs

    static constexpr std::uint32_t kIds = 65'536;
};

base::Json to_json(Spec const&);
/// errc::corrupt when a field is missing or of another type.
base::Result<Spec> spec_from(base::Json const&);

}  // namespace sandbox::native
