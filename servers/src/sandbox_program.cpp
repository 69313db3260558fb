#include "program.hpp"
#include "server_tree.hpp"
#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/ids.hpp>
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>
#include <workspace/workspaces.hpp>

#include <filesystem>

namespace servers {
namespace {

constexpr base::milliseconds kLogWait{30'000}, kLastWords{1'500};
constexpr std::size_t kLogChunk = 64 * 1024;
constexpr char const* kProcessId = "server";

/// The guest's stream as the client's.
class GuestByteStream final : public mcp::ByteStream {
  public:
    explicit GuestByteStream(std::unique_ptr<sandbox::GuestStream> stream) : stream_(std::move(stream)) {}
    Task<Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        if (!stream_) co_return base::error(base::errc::unavailable, "the server's output is closed");
        co_return co_await stream_->read_some(buffer);
    }
    Task<Status> write(asio::const_buffer buffer) override {
        if (!stream_) co_return base::error(base::errc::unavailable, "the server's input is closed");
        co_return co_await stream_->write(buffer);
    }
    void close_write() override {
        if (stream_) stream_->shutdown_write();
    }
    void close() override { stream_.reset(); }

  private:
    std::unique_ptr<sandbox::GuestStream> stream_;
};

std::string quoted(std::string const& word) {
    std::string out = "'";
    for (char const c : word) {
        if (c == '\'')
            out += "'\\''";
        else
            out += c;
    }
    return out + "'";
}

/// For the sandbox's own shell: each word as it is.
std::string command_line(config::ServerEntry const& entry) {
    auto out = "exec " + quoted(entry.command);
    for (auto const& arg : entry.args) out += ' ' + quoted(arg);
    return out;
}

/// Shared by the program and by the coroutine that follows its log.
struct Followed {
    explicit Followed(asio::any_io_executor executor)
        : ended(std::move(executor), asio::steady_timer::time_point::max()) {}
    std::shared_ptr<sandbox::Sandbox> sandbox;
    std::shared_ptr<LogBuffer> log;
    asio::steady_timer ended;  // cancelled once `over`
    bool over = false;
    std::string cause;
};

Task<void> follow(std::shared_ptr<Followed> f) {
    std::uint64_t offset = 0;
    while (!f->over) {
        auto view = co_await f->sandbox->guest().read(kProcessId, offset, kLogChunk, kLogWait);
        if (!view) break;
        f->log->append(view->output);
        offset = view->offset + view->output.size();
        if (view->running || offset < view->total_bytes) continue;
        f->cause = view->signal ? "it was ended by signal " + std::to_string(view->signal)
                                : "it exited with code " + std::to_string(view->exit_code);
        break;
    }
    if (!f->sandbox->alive() && f->sandbox->death().reason != sandbox::Death::Reason::destroyed)
        f->cause = "its sandbox ended: " + f->sandbox->death().detail;
    f->over = true;
    f->ended.cancel();
}

class SandboxProgram final : public Program {
  public:
    SandboxProgram(Launchpad& pad, ServerTree tree, std::string volume, std::shared_ptr<void> kept,
                   std::shared_ptr<Followed> followed)
        : pad_(pad),
          tree_(std::move(tree)),
          volume_(std::move(volume)),
          kept_(std::move(kept)),
          followed_(std::move(followed)) {}

    std::unique_ptr<mcp::ByteStream> take_stream() override { return std::move(stream); }
    std::string where() const override { return "sandbox " + followed_->sandbox->slot_id(); }
    Result<sandbox::Usage> usage() const override { return followed_->sandbox->usage(); }

    Task<std::string> cause() override {
        auto const f = followed_;
        if (!f->over) {
            asio::steady_timer limit(pad_.io, kLastWords);
            limit.async_wait([f](auto) { f->ended.cancel(); });
            co_await f->ended.async_wait(base::as_tuple);
            limit.cancel();
        }
        co_return f->cause;
    }

    Task<void> end() override {
        auto const f = followed_;
        if (std::exchange(ended_, true)) co_return;
        stream.reset();
        if (f->sandbox) (void)co_await f->sandbox->destroy();
        f->over = true;
        f->ended.cancel();
        auto unmount = [tree = tree_] {
            tree.unmount();
            return true;
        };
        co_await base::blocking(pad_.pool, std::move(unmount));
        kept_.reset();
        (void)co_await pad_.volumes.release(volume_);
    }

    std::unique_ptr<mcp::ByteStream> stream;

  private:
    Launchpad& pad_;
    ServerTree tree_;
    std::string volume_;
    std::shared_ptr<void> kept_;  // the workspace whose files are mounted, and our own volume
    std::shared_ptr<Followed> followed_;
    bool ended_ = false;
};

Task<Result<std::shared_ptr<workspace::Volume>>> own_volume(Launchpad& pad, std::string id,
                                                            std::uint64_t bytes) {
    auto volume = co_await pad.volumes.open_volume(id);
    if (volume || !base::is(volume.error(), base::errc::not_found)) co_return volume;
    auto made = co_await pad.volumes.create(id, bytes);
    if (!made) co_return made.error();
    co_return made;
}

struct Kept {
    std::shared_ptr<workspace::Volume> volume;
    std::shared_ptr<void> workspace;
};

Task<Status> launch(Launchpad& pad, config::ServerEntry const& entry, ServerTree const& tree,
                    std::shared_ptr<sandbox::Sandbox> sandbox, SandboxProgram& program) {
    auto const& box = entry.sandbox;
    auto const limits = workspace::host_limits({box.memory_bytes, box.cpus, box.pids});
    if (auto s = sandbox->set_limits(limits); !s) co_return s;
    if (auto s = sandbox->attach_volume(tree.root); !s) co_return s;
    auto policy = sandbox::EgressPolicy::parse(box.allowed_domains);
    if (!policy) co_return policy.error();
    auto const shared = std::make_shared<sandbox::EgressPolicy const>(std::move(*policy));
    sandbox->guest().on_egress([&egress = pad.egress, shared, name = "servers/" + entry.name](auto stream) {
        egress.serve(std::move(stream), name, shared);
    });
    sandbox::GuestSetup setup;
    setup.workspace_id = "servers/" + entry.name;
    setup.hostname = "server-" + id_of(entry.name).substr(0, 12);
    setup.egress = box.allowed_domains;
    setup.max_processes = box.pids;
    setup.binds = tree.binds();
    if (auto s = co_await sandbox->guest().configure(std::move(setup)); !s) co_return s;
    sandbox::ProcessSpec spec;
    spec.id = kProcessId;
    spec.command = command_line(entry);
    spec.cwd = entry.cwd.empty() ? "/workspace" : entry.cwd;
    for (auto const& [name, value] : entry.env) spec.env[name] = value.value.reveal();
    auto stream = co_await sandbox->guest().start_with_stdio(std::move(spec));
    if (!stream) co_return stream.error();
    program.stream = std::make_unique<GuestByteStream>(std::move(*stream));
    co_return Status();
}

}  // namespace

std::string id_of(std::string const& server_name) {
    return "srv-" + base::sha256_hex(server_name).substr(0, 26);
}

void unmount_leftovers(std::string const& directory) {
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
        ServerTree tree;
        tree.root = it->path().string();
        tree.unmount();
    }
}

Task<Result<std::unique_ptr<Program>>> start_in_sandbox(Launchpad& pad, config::ServerEntry const& entry,
                                                        std::shared_ptr<LogBuffer> log) {
    auto const id = id_of(entry.name);
    auto volume = co_await own_volume(pad, id, entry.sandbox.disk_bytes);
    if (!volume) co_return base::wrap(volume.error(), "open the server's volume");
    auto const kept = std::make_shared<Kept>();
    kept->volume = *volume;
    ServerTree tree;
    tree.root = pad.mounts + "/" + id;
    tree.home = (*volume)->host_directory() + "/home";
    tree.workspace = (*volume)->host_directory() + "/workspace";
    tree.read = entry.sandbox.allow_read;
    tree.write = entry.sandbox.allow_write;
    if (!entry.sandbox.workspace.empty()) {
        auto files = co_await pad.workspace_files(entry.sandbox.workspace);
        if (!files) co_return base::wrap(files.error(), "sandbox.workspace");
        tree.workspace = files->first;
        kept->workspace = files->second;
    }
    auto mount = [tree] { return tree.mount(); };
    auto mounted = co_await base::blocking(pad.pool, std::move(mount));
    auto const followed = std::make_shared<Followed>(pad.io.get_executor());
    followed->log = std::move(log);
    auto program = std::make_unique<SandboxProgram>(pad, tree, id, kept, followed);
    Status done = mounted;
    if (done) {
        auto name = entry.sandbox.template_name.empty() ? pad.default_template : entry.sandbox.template_name;
        auto taken = co_await pad.sandboxes.take(std::move(name));
        if (taken)
            followed->sandbox = taken->sandbox;
        else
            done = taken.error();
    }
    if (done) done = co_await launch(pad, entry, tree, followed->sandbox, *program);
    if (!done) {
        co_await program->end();
        co_return done.error();
    }
    asio::co_spawn(pad.io, follow(followed), asio::detached);
    co_return std::unique_ptr<Program>(std::move(program));
}

}  // namespace servers
