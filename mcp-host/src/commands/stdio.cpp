#include "../stdio_bridge.hpp"
#include "commands.hpp"

#include <base/launcher.hpp>
#include <base/syscalls.hpp>

#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

namespace host {
namespace {

using base::errc;
using base::error;

// A server that ends has this long to let go of the directory.
constexpr base::milliseconds kPredecessorEnds{30'000};
constexpr base::milliseconds kStartLimit{30'000};

/// Starts a server for our kind only: `berth serve --on-demand`. Returns once it listens; errc::busy when another
/// process has the data directory.
base::Status start_server(Options const& o) {
    auto ends = base::sys::pipe();
    if (!ends) return ends.error();
    base::Launch launch;
    launch.argv = {std::filesystem::read_symlink("/proc/self/exe").string(), "serve", "--on-demand", "--data",
                   std::filesystem::absolute(o.data).string()};
    if (!o.config.empty()) {
        launch.argv.push_back("--config");
        launch.argv.push_back(std::filesystem::absolute(o.config).string());
    }
    if (!o.servers.empty()) {
        launch.argv.push_back("--servers");
        launch.argv.push_back(std::filesystem::absolute(o.servers).string());
    }
    launch.out = launch.err = ends->second.get();
    if (auto pid = base::start_detached(std::move(launch)); !pid) return pid.error();
    ends->second.reset();
    std::string said;
    auto const give_up = base::Clock::now() + kStartLimit;
    for (;;) {
        auto const left = std::chrono::duration_cast<base::milliseconds>(give_up - base::Clock::now()).count();
        pollfd p{ends->first.get(), POLLIN, 0};
        if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) == 0)
            return error(errc::timed_out, "the server did not start within 30 s; its log is in " + o.data);
        char buffer[4096];
        auto const n = ::read(ends->first.get(), buffer, sizeof buffer);
        if (n <= 0) break;
        if (said.size() < 64 * 1024) said.append(buffer, static_cast<std::size_t>(n));
    }
    // It says one word of its own at the end, or one line about what is in the way.
    if (said.ends_with(kServerReady)) return {};
    if (said.ends_with(kServerBusy)) return error(errc::busy, o.data);
    while (said.ends_with('\n')) said.pop_back();
    auto line = said.substr(said.rfind('\n') + 1);
    if (line.starts_with("berth: ")) line.erase(0, 7);
    return error(errc::unavailable, line.empty() ? "the server did not start" : line);
}

}  // namespace

int stdio(Options const& o) {
    auto const socket = std::filesystem::absolute(o.data).string() + "/stdio.sock";
    auto give_up = base::Clock::now() + kPredecessorEnds;
    std::string first;  // what the client has said before there was a server
    for (;;) {
        auto connection = connect_stdio(socket);
        if (connection) {
            auto done = bridge(STDIN_FILENO, STDOUT_FILENO, std::move(*connection), first);
            return done ? 0 : fail(done.error().message());
        }
        bool const absent = base::is(connection.error(), errc::not_found);
        if (!absent && !base::is(connection.error(), errc::busy) && ::geteuid() == 0)
            return fail(connection.error().message());
        if (::geteuid() != 0 && (absent || base::is(connection.error(), errc::denied)))
            return fail(absent ? "no server runs on " + o.data + ": start one with sudo berth serve"
                               : "the server on " + o.data +
                                     " is for members of the group berth: sudo usermod -aG berth $USER, then log in again");
        if (absent && first.empty()) {
            // A client that is started to be looked at, and asks for nothing, leaves no trace. What can be known to be wrong
            // is told before it asks.
            if (auto settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config)); !settings)
                return fail(settings.error().message());
            auto asked = first_request(STDIN_FILENO);
            if (!asked) return fail(asked.error().message());
            if (asked->empty()) return 0;
            first = std::move(*asked);
            give_up = base::Clock::now() + kPredecessorEnds;
            continue;  // somebody else may have started one meanwhile
        }
        if (absent) {
            auto started = start_server(o);
            if (started) continue;
            if (!base::is(started.error(), errc::busy)) return fail(started.error().message());
        }
        if (base::Clock::now() > give_up)
            return fail("the data directory " + o.data + " is in use by a process that serves no stdio clients");
        std::this_thread::sleep_for(base::milliseconds(20));
    }
}

}  // namespace host
