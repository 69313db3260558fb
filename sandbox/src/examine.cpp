// What `berth doctor` says about this machine: each fact found by doing the thing.
#include "cgroup.hpp"
#include "gvisor/runsc.hpp"
#include "mounts.hpp"
#include "native/criu_program.hpp"

#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <sandbox/sandboxes.hpp>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>

namespace sandbox {

namespace {

using base::milliseconds;

constexpr int kThreadsPerSandbox = 32;           // 28 measured on two cores

Finding good(std::string name, std::string detail) { return {std::move(name), true, std::move(detail), {}}; }
Finding bad(std::string name, std::string detail, std::string hint) {
    return {std::move(name), false, std::move(detail), std::move(hint)};
}

base::Task<Finding> runsc() {
    char const* const hint = gvisor::kHowToInstall;
    auto const program = base::find_program("runsc");
    if (program.empty()) co_return bad("runsc", "not installed", hint);
    base::Launch launch;
    launch.argv = {program, "--version"};
    auto finished = co_await base::run(std::move(launch), milliseconds(10'000));
    if (!finished) co_return bad("runsc", finished.error().message(), hint);
    int const date = gvisor::release_date(finished->out);
    auto const version = finished->out.substr(0, finished->out.find('\n'));
    if (date < gvisor::kOldestRelease)
        co_return bad("runsc", version + ": older than " + std::to_string(gvisor::kOldestRelease) + ", without a usable systrap", hint);
    co_return good("runsc", version);
}

Finding guest(Options const& options) {
    if (::access(options.guest_binary.c_str(), R_OK) != 0)
        return bad("guest", options.guest_binary + " is missing", "build or install berth-guest, the program that runs inside");
    return good("guest", options.guest_binary);
}

Finding cgroups(CgroupTree const& tree) {
    std::string controllers = "memory, pids";
    if (!tree.cpu.empty()) controllers += ", cpu";
    return good("cgroups", std::string(tree.v2 ? "v2" : "v1") + " with " + controllers);
}

// Freezes a process of ours while it sleeps.
base::Task<Finding> freezer(CgroupTree tree) {
    char const* const hint = "mount the v1 freezer, or boot with the unified cgroup hierarchy";
    Cgroup const group(tree, "probe-" + base::random_id(4));
    if (auto made = group.create({}); !made) co_return bad("freezer", made.error().message(), hint);
    auto const done = std::make_shared<std::optional<base::Result<base::Finished>>>();
    auto sleep = [](Cgroup within, std::shared_ptr<std::optional<base::Result<base::Finished>>> result) -> base::Task<void> {
        base::Launch launch;
        launch.argv = {"sleep", "0.1"};
        launch.cgroups = within.directories();
        result->emplace(co_await base::run(std::move(launch), milliseconds(5'000)));
    };
    asio::co_spawn(co_await asio::this_coro::executor, sleep(group, done), asio::detached);
    auto const until = [](auto condition) -> base::Task<bool> {
        for (int i = 0; i < 400 && !condition(); ++i) co_await base::sleep_for(milliseconds(5));
        co_return condition();
    };
    auto const entered = [&] { return *done || !group.processes().empty(); };
    (void)co_await until(entered);
    Finding answer = good("freezer", tree.freezer_kind == Freezer::Kind::v1 ? "v1" : "v2");
    if (auto frozen = group.freezer().freeze(); !frozen) answer = bad("freezer", frozen.error().message(), hint);
    auto const settled = [&] {
        auto state = group.freezer().settled();
        return state && *state;
    };
    if (!co_await until(settled)) answer = bad("freezer", "a frozen process goes on running", hint);
    if (auto thawed = group.freezer().thaw(); !thawed) answer = bad("freezer", thawed.error().message(), hint);
    auto const finished = [&] { return done->has_value(); };
    if (!co_await until(finished) || !**done || (**done)->exit_code != 0)
        answer = bad("freezer", "a process does not go on after it was thawed", hint);
    (void)group.remove(milliseconds(500));
    co_return answer;
}

Finding mount_propagation(std::string const& directory) {
    char const* const hint = "berth needs CAP_SYS_ADMIN; in a container run it privileged";
    auto const probe = directory + "/probe-" + base::random_id(4);
    Finding answer = good("mounts", "a directory can be shared, and bound into later");
    if (auto s = base::sys::mkdir(probe, 0700); !s) return bad("mounts", s.error().message(), hint);
    auto const attempt = [&]() -> base::Status {
        if (auto s = mounts::make_shared(probe); !s) return s;
        for (char const* name : {"/target", "/source"})
            if (auto s = base::sys::mkdir(probe + name, 0700); !s) return s;
        return mounts::attach(probe + "/source", probe + "/target");
    }();
    if (!attempt) answer = bad("mounts", attempt.error().message(), hint);
    if (auto s = mounts::detach_all(probe, milliseconds(500)); !s) answer = bad("mounts", s.error().message(), hint);
    (void)base::remove_tree(probe);
    return answer;
}

Finding loop_devices() {
    char const* const hint = "load the `loop` module (modprobe loop); without it volumes have no hard size limit";
    auto control = base::sys::open("/dev/loop-control", O_RDWR);
    if (!control) return bad("loop devices", control.error().message(), hint);
    return good("loop devices", "/dev/loop-control opens");
}

Finding process_numbers(Options const& options) {
    long long max = 0;
    if (auto text = base::read_file("/proc/sys/kernel/pid_max", 64))
        std::from_chars(text->data(), text->data() + text->size(), max);
    long long sandboxes = 0;
    for (auto const& [name, target] : options.pool) sandboxes += target.ready;
    auto const detail = "kernel.pid_max is " + std::to_string(max) + ", the stock of " + std::to_string(sandboxes) +
                        " sandboxes needs about " + std::to_string(sandboxes * kThreadsPerSandbox);
    // Half of it for the rest: claimed sandboxes and what runs inside them.
    if (sandboxes * kThreadsPerSandbox * 2 > max)
        return bad("pid_max", detail, "sysctl -w kernel.pid_max=4194304");
    return good("pid_max", detail);
}

std::vector<Finding> templates(Options const& options) {
    std::vector<Finding> out;
    for (auto const& [name, image] : options.templates) {
        struct stat st{};
        if (::stat((image.rootfs + "/usr/bin").c_str(), &st) == 0 || (!image.borrowed.empty() && ::stat(image.rootfs.c_str(), &st) == 0)) {
            out.push_back(good("template " + name, image.rootfs));
            continue;
        }
        auto const directory = std::filesystem::path(image.rootfs).parent_path().parent_path().string();
        out.push_back(bad("template " + name, "no root file system at " + image.rootfs,
                          name == "base" ? "run BERTH_TEMPLATES=" + directory + " scripts/setup-template"
                                         : "put one there: see templates_dir in docs/config.md"));
    }
    return out;
}

// A sandbox of its own directory, so that a running server is not disturbed.
base::Task<Finding> first_sandbox(Options options, std::string directory, RuntimeKind runtime) {
    bool const gvisor = runtime == RuntimeKind::gvisor;
    std::string const what = gvisor ? "sandbox" : "native sandbox";
    char const* const hint =
        gvisor ? "the findings above say what to do; else look at `runsc --debug` with the same flags"
               : "native sandboxes need Linux 5.19 or later with user namespaces, overlay and seccomp filters, and files on ext4, xfs or "
                 "btrfs; gVisor's go on without";
    Options own;
    own.directory = directory;
    own.guest_binary = options.guest_binary;
    own.boot_limit = options.boot_limit;
    own.default_limits = options.default_limits;
    own.native = options.native;
    own.native.pool.clear();
    for (auto const& [name, image] : options.templates)
        if (own.templates.empty() && ::access(image.rootfs.c_str(), R_OK) == 0) own.templates[name] = image;
    if (own.templates.empty()) co_return bad(what, "there is no template to start from", hint);
    auto const name = own.templates.begin()->first;
    auto& io = static_cast<asio::io_context&>((co_await asio::this_coro::executor).context());
    base::BlockingPool pool(1);
    Finding answer;
    auto const began = base::Clock::now();
    {
        auto opened = Sandboxes::open(io, pool, own);
        if (!opened) co_return bad(what, opened.error().message(), hint);
        auto taken = co_await (*opened)->take(name, runtime);
        auto const took = std::chrono::duration_cast<milliseconds>(base::Clock::now() - began).count();
        // `take` has heard from its guest.
        answer = taken ? good(what, "template " + name + " boots and answers" + (gvisor ? " on systrap in " : " in ") + std::to_string(took) + " ms")
                       : bad(what, taken.error().message(), hint);
        co_await (*opened)->stop(true);
    }
    pool.join();
    co_return answer;
}

// Native sandboxes do without it, but for their memory.
base::Task<Finding> criu(std::string directory) {
    std::string const hint = std::string("native workspaces keep only their files while they sleep; ") + native::CriuProgram::kHowToInstall;
    auto const found = native::CriuProgram::find(directory + "/criu-build");
    if (!found) co_return bad("CRIU", found.error().message(), hint);
    auto complaint = co_await native::check_criu(*found);
    auto const version = found->version + " (" + found->path + ")";
    if (!complaint) co_return bad("CRIU", version + ": " + complaint.error().message(), hint);
    if (!complaint->empty()) co_return bad("CRIU", version + " lacks something of this kernel: " + *complaint, hint);
    co_return good("CRIU", version + ": native workspaces keep their memory while they sleep");
}

}  // namespace

base::Task<std::vector<Finding>> examine(Options const& given) {
    Options const options = given;
    std::vector<Finding> out;
    bool const root = ::geteuid() == 0;
    out.push_back(root ? good("root", "yes") : bad("root", "not root", "gVisor sandboxes with cgroups and mounts need root"));
    auto found = co_await runsc();
    out.push_back(std::move(found));
    out.push_back(guest(options));
    for (auto& one : templates(options)) out.push_back(std::move(one));
    out.push_back(loop_devices());
    out.push_back(process_numbers(options));
    if (!root) co_return out;

    std::string scratch = (std::filesystem::temp_directory_path() / "berth-doctor-XXXXXX").string();
    if (!::mkdtemp(scratch.data())) {
        out.push_back(bad("mounts", "no temporary directory can be made", "make " + scratch + " writable"));
        co_return out;
    }
    auto tree = CgroupTree::prepare(scratch);
    if (tree) {
        out.push_back(cgroups(*tree));
        auto frozen = co_await freezer(*tree);
        out.push_back(std::move(frozen));
    } else {
        out.push_back(bad("cgroups", tree.error().message(), "mount the memory, pids, cpu and freezer controllers, or cgroup v2"));
    }
    out.push_back(mount_propagation(scratch));
    auto booted = co_await first_sandbox(options, scratch + "/n", RuntimeKind::gvisor);
    out.push_back(std::move(booted));
    if (options.native.allowed) {
        auto native = co_await first_sandbox(options, scratch + "/k", RuntimeKind::native);
        out.push_back(std::move(native));
        auto memory = co_await criu(scratch);
        out.push_back(std::move(memory));
    } else {
        out.push_back(good("native sandboxes", "not allowed (native.allow)"));
    }
    if (tree) tree->remove();
    (void)base::remove_tree(scratch);
    co_return out;
}

}  // namespace sandbox
