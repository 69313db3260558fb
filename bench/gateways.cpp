#include "gateways.hpp"

#include "interrupt.hpp"
#include "process_tree.hpp"
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <signal.h>

#include <algorithm>

namespace bench {
namespace {

constexpr base::milliseconds kGatewayLife{600'000}, kGatewayStop{5'000};
constexpr std::chrono::seconds kGatewayStart{120};

}  // namespace

char const* name_of(GatewayKind kind) {
    return kind == GatewayKind::mcp_proxy ? "mcp-proxy" : "supergateway";
}

Gateway::Gateway(Children& children, Peers const& peers, GatewayKind kind, std::string mark)
    : mark_(std::move(mark)), port_(free_port()) {
    auto const server = peers.everything(mark_);
    auto const port = std::to_string(port_);
    base::Launch launch;
    if (kind == GatewayKind::mcp_proxy) {
        script_ = peers.package("mcp-proxy/dist/bin/mcp-proxy.mjs");
        launch.argv = {peers.node(), script_,    "--host", "127.0.0.1", "--port",
                       port,         "--server", "stream", "--"};
        launch.argv.insert(launch.argv.end(), server.begin(), server.end());
    } else {
        script_ = peers.package("supergateway/dist/index.js");
        std::string line;  // it splits this itself
        for (auto const& word : server) line += (line.empty() ? "" : " ") + word;
        launch.argv = {
            peers.node(), script_, "--stdio",    line,  "--outputTransport", "streamableHttp", "--stateful",
            "--port",     port,    "--logLevel", "none"};
    }
    launch.env = {"HOME=" + peers.directory()};
    Streams streams;
    auto const log = peers.directory() + "/" + name_of(kind) + ".log";
    streams.out = base::sys::open(log, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
    streams.err = base::sys::open(log, O_WRONLY | O_APPEND).value();
    child_ = children.start(std::move(launch), std::move(streams), kGatewayLife);
    if (wait_until_reached(port_, *child_, kGatewayStart)) return;
    stop();
    throw_if_interrupted();
    throw Failure(std::string(name_of(kind)) + " does not start");
}

Gateway::~Gateway() { stop(); }

// Killed, they would leave their servers behind.
void Gateway::stop() noexcept {
    WithoutSignals undisturbed;
    try {
        auto const all = processes();
        for (auto const pid : all) ::kill(pid, SIGTERM);
        (void)child_->wait(kGatewayStop);
        for (auto const pid : processes_naming(mark_)) ::kill(pid, SIGKILL);
    } catch (std::exception const&) {
        // Whatever is left, the scratch directory's owner finds and names.
    }
}

std::vector<pid_t> Gateway::own_processes() const {
    auto const marked = processes_naming(mark_), gateways = processes_naming(script_);
    std::vector<pid_t> own;
    std::copy_if(marked.begin(), marked.end(), std::back_inserter(own), [&](pid_t pid) {
        return std::find(gateways.begin(), gateways.end(), pid) != gateways.end();
    });
    return own;
}

std::vector<pid_t> Gateway::processes() const { return tree_of(mark_); }

}  // namespace bench
