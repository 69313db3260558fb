#include "commands/commands.hpp"
#include "terminal.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdio>

namespace {

constexpr char const* kHelp = R"(berth: an MCP server that gives a model Linux workspaces in gVisor sandboxes.

  berth serve  [--data DIR] [--listen ADDR:PORT] [--config FILE] [--servers FILE]
                                                                   serve over HTTP (default 127.0.0.1:7777, endpoint /mcp)
  berth stdio  [--data DIR] [--config FILE] [--servers FILE]       serve one client on stdin and stdout: through the
                                                                   server that runs on DIR, else through one that
                                                                   ends with its last such client
  berth tool NAME ['{json}'] [--data DIR]                          call a tool of the running server
  berth servers import FILE [--insecure] | check | catalogue | add NAME | login NAME | logout NAME
                                                                   community MCP servers in DIR/servers.json, or in
                                                                   the file of --servers FILE
  berth doctor [--data DIR] [--config FILE]                        what is missing here, and how to get it
  berth down   [--data DIR] [--config FILE]                        stop the server and every sandbox; files stay
  berth --version | --help; berth COMMAND --help

DIR is /var/lib/berth unless given. The HTTP token is in DIR/token.
)";

constexpr char const* kServeHelp = R"(berth serve: serves over HTTP until it is stopped.

  --data DIR           where workspaces, records and the token are kept (default /var/lib/berth)
  --listen ADDR:PORT   where to listen, instead of listen.address and listen.port of the configuration (127.0.0.1:7777)
  --config FILE        berth.yaml; every key stands in docs/config.md. Without it the defaults hold
  --servers FILE       community MCP servers (default DIR/servers.json)

SIGTERM and Ctrl-C leave workspaces as they are for the next start; berth down ends everything.
)";

constexpr char const* kDoctorHelp = R"(berth doctor: says what this machine lacks, and how to get it. Status 1 when something is missing.

  --data DIR           the data directory (default /var/lib/berth)
  --config FILE        berth.yaml: its templates, pools and certificates are looked at too
)";

char const* help_for(std::string const& command) {
    return command == "serve" ? kServeHelp : command == "doctor" ? kDoctorHelp : kHelp;
}

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

host::Options parse(int argc, char** argv) {
    host::Options o;
    for (int i = 1; i < argc; ++i) {
        std::string const a = argv[i];
        auto value = [&]() -> std::string {
            if (i + 1 >= argc) throw UsageError(a + " needs a value");
            return argv[++i];
        };
        if (a == "--data")
            o.data = value();
        else if (a == "--listen")
            o.listen = value();
        else if (a == "--config")
            o.config = value();
        else if (a == "--servers")
            o.servers = value();
        else if (a == "--on-demand")
            o.on_demand = true;
        else if (a == "--help" || a == "-h")
            o.help = true;
        else if (a == "--version")
            o.command = "version";
        else if (a == "--insecure" && o.command == "servers")
            o.rest.push_back(a);
        else if (a.starts_with("--"))
            throw UsageError("unknown option " + a + ": see berth --help");
        else if (o.command.empty())
            o.command = a;
        else
            o.rest.push_back(a);
    }
    return o;
}

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
        auto const o = parse(argc, argv);
        if (o.command == "version") return std::printf("berth %s\n", BERTH_VERSION), 0;
        if (o.help || o.command.empty() || o.command == "help") return std::fputs(help_for(o.command), stdout), 0;
        if (o.command == "tool") return host::tool(o);
        if (o.command == "servers") return host::servers(o);
        if (!o.rest.empty()) return host::fail("unexpected argument " + o.rest[0] + ": see berth --help");
        if (o.command == "down") return host::down(o);
        if (o.command == "stdio") return host::stdio(o);
        auto settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config));
        if (!settings) return host::fail(settings.error().message());
        spdlog::set_level(spdlog::level::from_str(settings->log_level));
        if (o.command == "serve") return host::serve(o, std::move(*settings));
        if (o.command == "doctor") return host::doctor(o, *settings);
        return host::fail("unknown command " + o.command + ": see berth --help");
    } catch (std::exception const& e) {
        return host::fail(e.what());
    }
}
