#include "../terminal.hpp"
#include "commands.hpp"

#include <cstdio>
#include <filesystem>

namespace host {

std::string beside_us(char const* program) {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / program).string();
}

int fail(std::string const& line) {
    std::fprintf(stderr, "berth: %s\n", plain(line).c_str());
    return 1;
}

EngineOptions engine_options(Options const& o, config::Settings settings) {
    EngineOptions out;
    out.data_dir = std::filesystem::absolute(o.data).string();
    out.guest_binary = beside_us("berth-guest");
    out.contain_binary = beside_us("berth-contain");
    out.jail_binary = beside_us("berth-jail");
    out.version = BERTH_VERSION;
    if (!o.servers.empty()) out.servers_file = std::filesystem::absolute(o.servers).string();
    out.settings = std::move(settings);
    return out;
}

}  // namespace host
