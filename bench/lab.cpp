#include "lab.hpp"

#include "interrupt.hpp"

#include <cstdio>
#include <filesystem>

namespace bench {
namespace {

constexpr std::chrono::seconds kFillLimit{60};

}  // namespace

Lab::Lab(Options options, Scratch const& scratch, Children& children)
    : options_(std::move(options)),
      scratch_(scratch),
      children_(children),
      peers_(children, options_.peers, scratch.path("peers")) {}

std::unique_ptr<ServerUnderTest> Lab::own_server(int ready, int awake, int max_sandboxes) {
    ServeOptions o;
    o.ready = ready;
    o.awake = awake;
    o.max_sandboxes = max_sandboxes;
    return own_server(std::move(o));
}

std::unique_ptr<ServerUnderTest> Lab::own_server(ServeOptions o) {
    o.berth = options_.berth;
    o.templates = options_.templates;
    o.directory = scratch_.path("serve-" + std::to_string(++servers_));
    return std::make_unique<ServerUnderTest>(children_, std::move(o));
}

ServerUnderTest& Lab::server() {
    if (!server_) {
        ServeOptions const shipped;
        server_ = own_server(shipped.ready, shipped.awake, shipped.max_sandboxes);
        server_->wait_for_stock(shipped.ready, kFillLimit);
    }
    return *server_;
}

McpClient& Lab::client() {
    if (!client_) client_ = server().connect();
    return *client_;
}

void Lab::close_server() {
    client_.reset();
    server_.reset();
}

RunscFloor& Lab::runsc() {
    if (!runsc_)
        runsc_ = std::make_unique<RunscFloor>(children_, scratch_.path("runsc"),
                                              options_.templates + "/base/rootfs");
    return *runsc_;
}

std::string Lab::program(std::string const& name) const {
    return (std::filesystem::path(options_.berth).parent_path() / name).string();
}

Lab::Workspace::Workspace(McpClient& client, base::Json const& created)
    : client_(&client), id_(created.at("workspace_id").get<std::string>()) {}

Lab::Workspace::~Workspace() {
    // After an interrupt, or when the connection broke, the server's own end removes it.
    if (id_.empty() || interrupted()) return;
    try {
        (void)client_->call("workspace_delete", {{"workspace_id", id_}});
    } catch (std::exception const& e) {
        std::fprintf(stderr, "berth-bench: delete a workspace: %s\n", e.what());
    }
}

Lab::Workspace Lab::workspace() {
    auto const created = client().call("workspace_create", base::Json::object());
    return Workspace(client(), created.structured());
}

std::string Lab::host_files(ServerUnderTest const& server, McpClient& client, Workspace const& workspace) const {
    // A volume has a name of its own; a file that only this workspace has tells which one it is.
    auto const marker = workspace.id() + ".marker";
    (void)client.call("write_file", {{"workspace_id", workspace.id()}, {"path", marker}, {"content", ""}});
    auto const volumes = server.data() + "/volumes";
    for (auto const& volume : std::filesystem::directory_iterator(volumes)) {
        auto const directory = volume.path().string() + "/fs/workspace";
        if (std::filesystem::exists(directory + "/" + marker)) return directory;
    }
    throw Failure("no files of workspace " + workspace.id() + " below " + volumes);
}

}  // namespace bench
