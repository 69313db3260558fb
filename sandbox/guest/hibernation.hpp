#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace guest {

struct DeletedFile {
    std::string path;
    pid_t pid = 0;
    std::string program;
};

/// Files below the volume's directories that were deleted while a process has them open or mapped: the runtime can save
/// every file but these. Each once per process.
std::vector<DeletedFile> deleted_files(std::vector<std::string> const& directories);

/// After a restore. Rewrites DIR/generation, gives a fork a machine id of its own, and signals those who asked for it with a
/// file DIR/notify/<pid> that holds a signal's number. DIR is /run/berth.
void announce(std::string const& directory, std::uint64_t generation, bool forked);

/// A fork's /proc/sys/kernel/random/boot_id: bound over the one that its kernel was saved with, from a file below DIR. Nothing
/// where that kernel is the machine's.
void renew_boot_id(std::string const& directory);

}  // namespace guest
