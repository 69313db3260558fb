#include "commands.hpp"

#include <cstdio>
#include <filesystem>

namespace host {

int doctor(Options const& o, config::Settings const& settings) {
    asio::io_context io{1};
    sandbox::Options options;
    options.directory = std::filesystem::absolute(o.data).string();
    options.guest_binary = beside_us("berth-guest");
    options.native.allowed = settings.native.allow;
    options.native.program = beside_us("berth-contain");
    auto const rootfs = settings.templates_dir + "/" + settings.default_template + "/rootfs";
    if (std::filesystem::is_directory(rootfs))
        options.templates[settings.default_template] = {settings.default_template, rootfs, ""};
    bool good = true;
    asio::co_spawn(io, sandbox::examine(options),
                   [&](std::exception_ptr e, std::vector<sandbox::Finding> const& findings) {
                       if (e) std::rethrow_exception(e);
                       for (auto const& f : findings) {
                           std::printf("%-4s %-24s %s\n", f.ok ? "ok" : "MISS", f.name.c_str(),
                                       f.detail.c_str());
                           if (!f.ok && !f.hint.empty())
                               std::printf("     %-24s -> %s\n", "", f.hint.c_str());
                           good = good && f.ok;
                       }
                   });
    io.run();
    return good ? 0 : 1;
}

}  // namespace host
