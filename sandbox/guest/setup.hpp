#pragma once
#include "link.hpp"
#include "spawn.hpp"

#include <string>

namespace guest {

/// What a claim made of this sandbox. Applied by `configure`, which may be repeated: after a restore, or by a new server.
struct Setup {
    std::string workspace_id;          ///< "" before the first claim
    Environment env;                   ///< of every command
    bool egress = false;
    std::size_t max_processes_kept = 256;
    unsigned max_processes = 0;        ///< of all commands together; 0 = no limit
};

struct SetupOptions {
    std::string test_root;             ///< "" but in tests: nothing of the machine is changed, and this is the home
    int proxy_port = 3128;
};

std::string home_directory(SetupOptions const&);

/// Environment before any claim, from the guest's own.
Environment base_environment(SetupOptions const&);

/// The directories above a path, as far as they are missing. "" or what failed.
std::string make_directories_above(std::string const& path);

/// "" or what failed. Only the volume is essential; names and notes are best effort.
std::string apply_setup(Json const& request, SetupOptions const&, Setup&);
/// The machine's name, which takes three files and half a millisecond that no claim should wait for.
void name_host(Json const& request, SetupOptions const&);

}  // namespace guest
