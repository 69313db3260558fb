#include "commands.hpp"

#include <cstdio>
#include <filesystem>

namespace host {

std::string guest_beside_us() {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "berth-guest").string();
}

int fail(std::string const& line) {
    std::fprintf(stderr, "berth: %s\n", line.c_str());
    return 1;
}

EngineOptions engine_options(Options const& o, config::Settings settings) {
    EngineOptions out;
    out.data_dir = std::filesystem::absolute(o.data).string();
    out.guest_binary = guest_beside_us();
    out.version = BERTH_VERSION;
    if (!o.servers.empty()) out.servers_file = std::filesystem::absolute(o.servers).string();
    out.settings = std::move(settings);
    return out;
}

}  // namespace host
