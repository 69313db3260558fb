#include "peers.hpp"

#include "interrupt.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <unistd.h>

namespace bench {
namespace {

constexpr base::milliseconds kPeerLife{600'000};
constexpr std::chrono::seconds kPeerStart{30};

}  // namespace

Peers::Peers(Children& children, std::string installed, std::string directory)
    : children_(children), installed_(std::move(installed)), directory_(std::move(directory)) {
    base::sys::mkdir(directory_, 0700).value();
    if (!installed_.empty() && ::access(node().c_str(), X_OK) != 0)
        throw Failure("no " + node() + ": scripts/bench installs the npm servers");
}

std::string Peers::package(std::string const& path) const {
    auto file = installed_ + "/node_modules/" + path;
    if (::access(file.c_str(), R_OK) != 0)
        throw Failure("no " + file + ": scripts/bench installs the npm servers");
    return file;
}

std::unique_ptr<ToolConnection> Peers::filesystem(std::string const& root) {
    return std::make_unique<StdioPeer>(
        children_,
        std::vector{node(), package("@modelcontextprotocol/server-filesystem/dist/index.js"), root},
        std::vector{"HOME=" + directory_}, directory_ + "/filesystem.log");
}

std::unique_ptr<ToolConnection> Peers::desktop_commander(std::string const& root) {
    // It reports home and keeps settings there unless told otherwise.
    auto const settings = directory_ + "/.claude-server-commander";
    base::sys::mkdir(settings, 0700).value();
    base::Json const quiet = {{"telemetryEnabled", false}, {"allowedDirectories", {root}}};
    base::replace_file(settings + "/config.json", base::dump(quiet), 0600).value();
    return std::make_unique<StdioPeer>(
        children_,
        std::vector{node(), package("@wonderwhy-er/desktop-commander/dist/index.js"),
                    std::string("--no-onboarding")},
        std::vector{"HOME=" + directory_}, directory_ + "/desktop-commander.log");
}

std::vector<std::string> Peers::everything(std::string const& mark) const {
    return {node(), package("@modelcontextprotocol/server-everything/dist/index.js"), "stdio", mark};
}

std::unique_ptr<ToolConnection> Peers::everything_on_stdio(std::string const& mark) {
    return std::make_unique<StdioPeer>(children_, everything(mark), std::vector{"HOME=" + directory_},
                                       directory_ + "/everything.log");
}

std::string Peers::brought(char const* file) const {
    auto path = installed_ + "/" + file;
    return installed() && ::access(path.c_str(), X_OK) == 0 ? path : "";
}

Peers::SdkServer Peers::sdk_server() {
    SdkServer server;
    server.port = free_port();
    server.mark = directory_ + "/sdk-" + std::to_string(server.port);
    Streams streams;
    streams.out = base::sys::open(directory_ + "/sdk.log", O_WRONLY | O_CREAT | O_APPEND, 0600).value();
    streams.err = base::sys::open(directory_ + "/sdk.log", O_WRONLY | O_APPEND).value();
    base::Launch launch;
    launch.argv = {node(), installed_ + "/sdk_http.mjs", std::to_string(server.port), server.mark};
    launch.env = {"HOME=" + directory_};
    auto const began = Clock::now();
    server.child = children_.start(std::move(launch), std::move(streams), kPeerLife);
    for (;;) {
        throw_if_interrupted();
        try {
            HttpConnection const reached(server.port);
            break;
        } catch (Failure const&) {
            if (server.child->ended() || Clock::now() > began + kPeerStart)
                throw Failure("the server of the npm SDK does not start");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    server.start_took = Clock::now() - began;
    return server;
}

}  // namespace bench
