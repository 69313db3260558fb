#pragma once
#include "cgroup.hpp"

#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace sandbox {

/// What is written about a sandbox before it boots, and completed once it runs: enough for a later server to take it up
/// or to remove it. Not flushed: a slot does not survive its machine.
struct SlotRecord {
    std::string template_name, stamp, runtime_build, guest_build;
    std::int64_t created_ms = 0;
    pid_t sentry = 0;                            ///< 0 until it runs
    std::uint64_t sentry_start = 0;              ///< base::process_start
    RuntimeKind runtime = RuntimeKind::gvisor;
    bool blank = false;                          ///< made for a restore that is still to come, or to succeed
};

/// DIR/slots/<id>: the FIFOs `in` and `out`, `mnt` (what the sandbox sees at /berth), `bundle`, `slot.json`, `runsc.log`, and
/// `claimed` once it was handed out. A value: names, no resources.
struct Slot {
    static constexpr std::size_t kIdLength = 17;
    static std::string new_id();                 ///< of one length, since runsc matches ids by prefix
    static bool valid_id(std::string_view);

    std::string id;
    std::string directory;

    Slot() = default;
    Slot(std::string const& slots, std::string slot_id) : id(std::move(slot_id)), directory(slots + "/" + id) {}
    std::string path(char const* name) const { return directory + "/" + name; }

    /// Record, FIFOs and the sealed mount root. Blocks for microseconds.
    base::Status create(SlotRecord const&) const;
    base::Status write_record(SlotRecord const&) const;
    base::Result<SlotRecord> read_record() const;
    /// Both ends O_RDWR: neither side sees end of file when the other goes away. In, then out.
    base::Result<std::pair<base::UniqueFd, base::UniqueFd>> open_fifos() const;
    /// On the host: what is mounted there shows up at /berth/volume inside.
    std::string volume_mount() const { return path("mnt/volume"); }
    /// From now on this sandbox belongs to someone, whatever happens to the server.
    base::Status mark_claimed() const;
    bool claimed() const;
    /// While a checkpoint may have stopped everything inside: a later server has to let it go on.
    base::Status mark_paused() const;
    base::Status unmark_paused() const;
    bool paused() const;
};

/// Ends what runs in a slot, half-made or running, and takes away its mounts and groups: what is left are its files. Blocks; idempotent.
base::Status dismantle(Slot const& slot, Cgroup const& cgroup);

}  // namespace sandbox
