#include "commands/commands.hpp"
#include "terminal.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

namespace {

void raise_limits() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
}

}  // namespace

int main(int argc, char** argv) {
    spdlog::set_default_logger(spdlog::stderr_color_mt("berth"));
    host::log_plainly();
    ::signal(SIGPIPE, SIG_IGN);
    // What is private is made so by name. An operator's own umask would hide directories of a sandbox's root from its users.
    ::umask(022);
    raise_limits();
    try {
        auto const o = host::parse_command_line({argv + std::min(argc, 1), argv + argc});
        if (o.version) return std::printf("berth %s\n", BERTH_VERSION), 0;
        // A tool's own help is with the server that has it.
        if (o.command.empty() || (o.help && (o.command != "tool" || o.rest.empty())))
            return std::fputs(host::help_for(o.command).c_str(), stdout), 0;
        if (o.command == "config") return std::fputs(config::example_yaml().c_str(), stdout), 0;
        if (o.command == "tool") return host::tool(o);
        if (o.command == "servers") return host::servers(o);
        if (o.command == "down") return host::down(o);
        if (o.command == "stdio") return host::stdio(o);
        auto settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config));
        if (!settings) return host::fail(settings.error().message());
        spdlog::set_level(spdlog::level::from_str(settings->log_level));
        return o.command == "doctor" ? host::doctor(o, *settings) : host::serve(o, std::move(*settings));
    } catch (std::exception const& e) {
        return host::fail(e.what());
    }
}
