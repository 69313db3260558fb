#include "program.hpp"
#include "server_tree.hpp"
#include "signal.hpp"
#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/ids.hpp>
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>
#include <workspace/workspaces.hpp>

#include <filesystem>
#include <optional>

namespace servers {
namespace {

constexpr base::milliseconds kLogWait{30'000}, kLastWords{1'500};
constexpr base::milliseconds kSleepLimit{60'000};
constexpr std::size_t kLogChunk = 64 * 1024;
constexpr char const* kProcessId = "server";

/// The way to the program's stdin and stdout, which outlives its sandbox while it sleeps.
struct Pipe {
    explicit Pipe(asio::any_io_executor executor) : changed(std::move(executor)) {}
    std::shared_ptr<base::ByteStream> stream;  // shared with a read or write that is under way
    bool asleep = false, closed = false;
    int writing = 0;
    Signal changed;

    void close() {
        closed = true;
        stream.reset();
        changed.notify();
    }
    Task<void> awake() {
        while (asleep && !closed) co_await changed.wait(kLogWait);
    }
};

/// The guest's stream as the client's.
class GuestByteStream final : public base::ByteStream {
  public:
    explicit GuestByteStream(std::shared_ptr<Pipe> pipe) : pipe_(std::move(pipe)) {}
    ~GuestByteStream() override { pipe_->close(); }

    Task<Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto const pipe = pipe_;
        for (;;) {
            co_await pipe->awake();
            if (!pipe->stream) co_return base::error(base::errc::unavailable, "the server's output is closed");
            auto const stream = pipe->stream;
            auto got = co_await stream->read_some(buffer);
            bool const fell_asleep = !got && !pipe->closed && (pipe->asleep || pipe->stream != stream);
            if (!fell_asleep) co_return got;
        }
    }
    Task<Status> write(asio::const_buffer buffer) override {
        auto const pipe = pipe_;
        co_await pipe->awake();
        if (!pipe->stream) co_return base::error(base::errc::unavailable, "the server's input is closed");
        auto const stream = pipe->stream;
        struct Writing {
            explicit Writing(int& c) : count(c) { ++count; }
            ~Writing() { --count; }
            int& count;
        } const writing(pipe->writing);
        co_return co_await stream->write(buffer);
    }
    void shutdown_write() override {
        if (pipe_->asleep)
            pipe_->close();
        else if (pipe_->stream)
            pipe_->stream->shutdown_write();
    }
    void close() override { pipe_->close(); }

  private:
    std::shared_ptr<Pipe> pipe_;
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
    std::shared_ptr<sandbox::Sandbox> sandbox;  // null while it sleeps
    std::shared_ptr<LogBuffer> log;
    std::shared_ptr<Refusals> refusals;
    asio::steady_timer ended;  // cancelled once `over`
    std::uint64_t offset = 0;  // of its log
    bool over = false, sleeping = false, following = false;
    std::string cause;
};

Task<void> follow(std::shared_ptr<Followed> f) {
    auto const sandbox = f->sandbox;
    f->following = true;
    while (!f->over) {
        auto view = co_await sandbox->guest().read(kProcessId, f->offset, kLogChunk, kLogWait);
        if (!view) break;
        f->log->append(view->output);
        f->offset = view->offset + view->output.size();
        if (view->running || f->offset < view->total_bytes) continue;
        f->cause = view->signal ? "it was ended by signal " + std::to_string(view->signal)
                                : "it exited with code " + std::to_string(view->exit_code);
        break;
    }
    f->following = false;
    if (f->sleeping && f->cause.empty()) co_return;  // followed again when it wakes
    if (!sandbox->alive() && sandbox->death().reason != sandbox::Death::Reason::destroyed)
        f->cause = "its sandbox ended: " + sandbox->death().detail;
    f->over = true;
    f->ended.cancel();
}

sandbox::GuestSetup setup_of(config::ServerEntry const& entry, ServerTree const& tree) {
    sandbox::GuestSetup setup;
    setup.workspace_id = "servers/" + entry.name;
    setup.hostname = "server-" + id_of(entry.name).substr(0, 12);
    setup.egress = entry.sandbox.allowed_domains;
    setup.max_processes = entry.sandbox.pids;
    setup.binds = tree.binds();
    return setup;
}

Status let_out(Launchpad& pad, config::ServerEntry const& entry, Followed const& followed) {
    auto policy = sandbox::EgressPolicy::parse(entry.sandbox.allowed_domains);
    if (!policy) return policy.error();
    policy->whose = "this server's";
    policy->added_in = "sandbox.network.allowedDomains of its entry in servers.json";
    auto const shared = std::make_shared<sandbox::EgressPolicy const>(std::move(*policy));
    auto const told = [refusals = followed.refusals, shared](sandbox::EgressProxy::Record const& r) {
        if (!r.allowed) refusals->add(r.host, r.port, shared->allows(r.host, r.port) ? r.reason : "");
    };
    followed.sandbox->guest().on_egress([&egress = pad.egress, shared, told, name = "servers/" + entry.name](auto stream) {
        egress.serve(std::move(stream), name, shared, told);
    });
    return {};
}

std::string template_of(Launchpad const& pad, config::ServerEntry const& entry) {
    return entry.sandbox.template_name.empty() ? pad.default_template : entry.sandbox.template_name;
}

sandbox::Limits limits_of(config::ServerEntry const& entry) {
    auto const& box = entry.sandbox;
    return workspace::host_limits({box.memory_bytes, box.cpus, box.pids});
}

class SandboxProgram final : public Program {
  public:
    SandboxProgram(Launchpad& pad, config::ServerEntry const& entry, ServerTree tree, std::string volume,
                   std::shared_ptr<void> kept, std::shared_ptr<Followed> followed)
        : pad_(pad),
          entry_(entry),
          tree_(std::move(tree)),
          volume_(std::move(volume)),
          kept_(std::move(kept)),
          followed_(std::move(followed)),
          pipe(std::make_shared<Pipe>(pad.io.get_executor())) {}

    std::unique_ptr<base::ByteStream> take_stream() override { return std::make_unique<GuestByteStream>(pipe); }
    std::string where() const override {
        return followed_->sandbox ? "sandbox " + followed_->sandbox->slot_id() : "on disk";
    }
    Result<sandbox::Usage> usage() const override {
        if (followed_->sandbox) return followed_->sandbox->usage();
        return base::error(base::errc::unavailable, "it sleeps");
    }

    Task<std::string> cause() override {
        auto const f = followed_;
        if (!f->over && !f->sleeping) {
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
        pipe->close();
        if (f->sandbox) (void)co_await f->sandbox->destroy();
        f->over = true;
        f->ended.cancel();
        if (image_) (void)co_await pad_.images->remove(image_->workspace_id, image_->image_id);
        auto unmount = [tree = tree_] {
            tree.unmount();
            return true;
        };
        co_await base::blocking(pad_.pool, std::move(unmount));
        kept_.reset();
        (void)co_await pad_.volumes.release(volume_);
    }

    bool can_sleep() const override { return pad_.images && entry_.hibernate && !followed_->over; }
    Task<Status> sleep() override;
    Task<Status> wake() override;

  private:
    Launchpad& pad_;
    config::ServerEntry const entry_;
    ServerTree tree_;
    std::string volume_;
    std::shared_ptr<void> kept_;  // the workspace whose files are mounted, and our own volume
    std::shared_ptr<Followed> followed_;
    std::optional<sandbox::ImageRef> image_;  // while it sleeps
    std::uint64_t sleeps_ = 0;
    bool ended_ = false;

  public:
    std::shared_ptr<Pipe> const pipe;
};

Task<Status> SandboxProgram::sleep() {
    auto const f = followed_;
    auto const line = pipe;
    if (!f->sandbox || f->over) co_return base::error(base::errc::unavailable, "it does not run");
    if (line->writing > 0) co_return base::error(base::errc::busy, "something is being written to it");
    auto const used = f->sandbox->usage();
    sandbox::ImageRef ref;
    ref.workspace_id = image_owner(entry_.name);
    ref.image_id = "i-" + base::random_id();
    ref.generation = ++sleeps_;
    auto draft = co_await pad_.images->begin(ref, used ? used->memory_bytes : entry_.sandbox.memory_bytes);
    if (!draft) co_return draft.error();
    draft->confidential = entry_.is_confidential();
    line->asleep = f->sleeping = true;
    auto keep = [&](sandbox::Checkpointed const& done) -> Task<Result<sandbox::AfterKeep>> {
        auto published = co_await pad_.images->publish(*draft, done.facts);
        draft->reserved = 0;  // settled either way
        if (!published) co_return published.error();
        co_return sandbox::AfterKeep::end;
    };
    sandbox::Keep const keeper = keep;
    auto const directory = draft->directory;
    auto saved = co_await f->sandbox->checkpoint(directory, kSleepLimit, keeper);
    if (saved) {
        image_ = ref;
        line->stream.reset();
        auto const gone = std::exchange(f->sandbox, nullptr);
        (void)co_await gone->destroy();
        co_return Status();
    }
    co_await pad_.images->discard(std::move(*draft));
    f->sleeping = false;
    if (f->sandbox->alive()) {
        // Quiet as it was, its streams have ended; they wait inside.
        auto stream = co_await f->sandbox->guest().attach_stdio(kProcessId);
        if (stream) line->stream = std::move(*stream);
        if (!f->following) asio::co_spawn(pad_.io, follow(f), asio::detached);
    }
    line->asleep = false;
    line->changed.notify();
    co_return saved.error();
}

Task<Status> SandboxProgram::wake() {
    auto const f = followed_;
    auto const line = pipe;
    if (!image_) co_return base::error(base::errc::not_found, "its memory was not kept");
    auto const name = template_of(pad_, entry_);
    auto here = pad_.sandboxes.image_facts(name);
    if (!here) co_return base::error(base::errc::unavailable, here.error().message());
    auto opened = co_await pad_.images->open(*image_, *here);
    if (!opened) co_return opened.error();
    sandbox::RestoreRequest request;
    request.image = std::move(*opened);
    request.template_name = name;
    request.volume_directory = tree_.root;
    request.limits = limits_of(entry_);
    request.renewal.setup = setup_of(entry_, tree_);
    request.renewal.generation = image_->generation;
    auto restored = co_await pad_.sandboxes.restore(std::move(request));
    if (!restored) co_return restored.error();
    f->sandbox = restored->sandbox;
    // It ran from here on: the image is behind its files, and is not woken again.
    auto const ref = *std::exchange(image_, std::nullopt);
    (void)co_await pad_.images->remove(ref.workspace_id, ref.image_id);
    if (auto s = let_out(pad_, entry_, *f); !s) co_return s;
    auto stream = co_await f->sandbox->guest().attach_stdio(kProcessId);
    if (!stream) co_return base::error(base::errc::not_found, "after its wake: " + stream.error().message());
    f->sleeping = false;
    asio::co_spawn(pad_.io, follow(f), asio::detached);
    line->stream = std::move(*stream);
    line->asleep = false;
    line->changed.notify();
    co_return Status();
}

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
                    std::map<std::string, std::string> settings, Followed const& followed, SandboxProgram& program) {
    auto const sandbox = followed.sandbox;
    if (auto s = sandbox->set_limits(limits_of(entry)); !s) co_return s;
    if (auto s = sandbox->attach_volume(tree.root); !s) co_return s;
    if (auto s = let_out(pad, entry, followed); !s) co_return s;
    auto setup = setup_of(entry, tree);
    if (auto s = co_await sandbox->guest().configure(std::move(setup)); !s) co_return s;
    sandbox::ProcessSpec spec;
    spec.id = kProcessId;
    spec.command = command_line(entry);
    spec.cwd = entry.cwd.empty() ? "/workspace" : entry.cwd;
    spec.env = std::move(settings);
    for (auto const& [name, value] : entry.env) spec.env[name] = value.value.reveal();
    auto stream = co_await sandbox->guest().start_with_stdio(std::move(spec));
    if (!stream) co_return stream.error();
    program.pipe->stream = std::move(*stream);
    co_return Status();
}

}  // namespace

std::string id_of(std::string const& server_name) {
    return "srv-" + base::sha256_hex(server_name).substr(0, 26);
}

std::string image_owner(std::string const& server_name) {
    // Image names have no 0, 1, 8 and 9.
    std::string out = "srv-";
    for (char const digit : base::sha256_hex(server_name).substr(0, 32))
        out += static_cast<char>(digit <= '9' ? 'a' + (digit - '0') : digit + 10);
    return out;
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
                                                        std::map<std::string, std::string> settings,
                                                        std::shared_ptr<LogBuffer> log,
                                                        std::shared_ptr<Refusals> refusals) {
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
    followed->refusals = std::move(refusals);
    auto program = std::make_unique<SandboxProgram>(pad, entry, tree, id, kept, followed);
    Status done = mounted;
    if (done) {
        auto name = template_of(pad, entry);
        auto taken = co_await pad.sandboxes.take(std::move(name));
        if (taken)
            followed->sandbox = taken->sandbox;
        else
            done = taken.error();
    }
    if (done) done = co_await launch(pad, entry, tree, std::move(settings), *followed, *program);
    if (!done) {
        co_await program->end();
        co_return done.error();
    }
    asio::co_spawn(pad.io, follow(followed), asio::detached);
    co_return std::unique_ptr<Program>(std::move(program));
}

}  // namespace servers
