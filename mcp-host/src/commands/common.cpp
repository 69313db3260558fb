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
    return {std::filesystem::absolute(o.data).string(), guest_beside_us(), BERTH_VERSION,
            std::move(settings)};
}

}  // namespace host
