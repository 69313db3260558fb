#include "workplaces.hpp"

#include "interrupt.hpp"
#include "process_tree.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

namespace bench {
namespace {

constexpr base::milliseconds kLineLimit{600'000};
constexpr int kCallWait = 50'000;
constexpr std::chrono::seconds kIdleStart{20};
constexpr double kMegabyte = 1 << 20;
constexpr char const* kInsidePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Everything that is said goes to the volume: in every place the same way, and it may be long.
std::string noting(std::string const& line) { return "{ " + line + "; } > printed 2> complaints"; }

std::string said_in(std::string const& files, bool well, std::string const& line) {
    constexpr std::size_t kMostSaid = 16u << 20;
    if (well) return base::read_file(files + "/printed", kMostSaid).value();
    auto const why = base::read_file(files + "/complaints", kMostSaid);
    throw Failure(line.substr(0, 200) + ": " + (why ? why->substr(0, 500) : why.error().message()));
}

/// In a workspace, through the tools.
class InWorkspace final : public Workplace {
  public:
    InWorkspace(std::string kind, ServerUnderTest const& server, McpClient& client, Lab::Workspace workspace,
                std::string files)
        : Workplace(kind == "gvisor" ? "gVisor" : kind, std::move(files)),
          kind_(std::move(kind)),
          server_(server),
          client_(client),
          workspace_(std::move(workspace)) {}

    std::string run(std::string const& line) override {
        auto const end = Clock::now() + kLineLimit;
        auto ran = client_
                       .call("run_command", {{"workspace_id", workspace_.id()},
                                             {"command", noting(line)},
                                             {"timeout_ms", kCallWait}})
                       .structured();
        while (ran.at("state") == "running") {
            if (Clock::now() > end) throw Failure(name() + ": " + line.substr(0, 200) + ": goes on and on");
            ran = client_
                      .call("read_process_output",
                            {{"process_id", ran.at("process_id")}, {"wait_ms", kCallWait}})
                      .structured();
        }
        return said_in(files(), ran.value("exit_code", -1) == 0, name() + ": " + line);
    }

    // Of those in stock, in which nothing runs but the guest.
    Samples idle_memory(int count) override {
        auto const slots = server_.data() + "/sandboxes/slots";
        Samples each;
        for (auto const& slot : std::filesystem::directory_iterator(slots)) {
            auto const text = base::read_file(slot.path().string() + "/slot.json", 64 * 1024);
            auto const record = text ? base::parse_json(*text) : base::error(base::errc::not_found, "");
            if (!record || record->value("kind", "") != kind_ || record->value("blank", false)) continue;
            if (std::filesystem::exists(slot.path() / "claimed") || static_cast<int>(each.count()) >= count)
                continue;
            auto const tree = tree_of(slot.path().string() + "/", {record->value("sentry", 0)});
            each.add(static_cast<double>(pss_of(tree)) / kMegabyte);
        }
        return each;
    }

  private:
    std::string kind_;
    ServerUnderTest const& server_;
    McpClient& client_;
    Lab::Workspace workspace_;
};

/// Outside of berth, on the files of a workspace that does nothing meanwhile.
class OnThisMachine final : public Workplace {
  public:
    /// The program and its arguments that run a line of shell in its place.
    using Way = std::function<std::vector<std::string>(std::string const& files, std::string const& line)>;

    OnThisMachine(std::string name, Children& children, Lab::Workspace workspace, std::string files, Way way)
        : Workplace(std::move(name), std::move(files)),
          children_(children),
          workspace_(std::move(workspace)),
          way_(std::move(way)) {}

    std::string run(std::string const& line) override {
        throw_if_interrupted();
        auto const ended = children_.run(launch(noting(line)), kLineLimit);
        throw_if_interrupted();
        if (ended.exit_code != 0 && !ended.err.empty())
            throw Failure(name() + ": " + ended.err.substr(0, 500));
        return said_in(files(), ended.exit_code == 0, name() + ": " + line);
    }

    Samples idle_memory(int count) override {
        std::vector<std::unique_ptr<Child>> idle;
        std::vector<std::string> marks;
        for (int i = 0; i < count; ++i) {
            marks.push_back("idle-" + name() + "-" + std::to_string(i) + "-");  // none of them begins another
            idle.push_back(children_.start(launch("exec ./work idle " + marks.back()), {}, kLineLimit));
        }
        auto const end = Clock::now() + kIdleStart;
        for (auto const& mark : marks)
            while (::access((files() + "/" + mark).c_str(), F_OK) != 0) {
                if (Clock::now() > end) throw Failure(name() + ": an idle program does not start");
                pause(std::chrono::milliseconds(5));
            }
        Samples each;
        for (auto const& mark : marks) {
            each.add(static_cast<double>(pss_of(tree_of(mark))) / kMegabyte);
            std::filesystem::remove(files() + "/" + mark);
        }
        return each;
    }

  private:
    base::Launch launch(std::string const& line) const {
        base::Launch l;
        l.argv = way_(files(), line);
        l.env = {std::string("PATH=") + kInsidePath};
        return l;
    }

    Children& children_;
    Lab::Workspace workspace_;
    Way way_;
};

OnThisMachine::Way bubblewrap(std::string program, std::string rootfs) {
    return [=](std::string const& files, std::string const& line) {
        return std::vector<std::string>{program,
                                        "--unshare-all",
                                        "--die-with-parent",
                                        "--new-session",
                                        "--ro-bind",
                                        rootfs,
                                        "/",
                                        "--bind",
                                        files,
                                        "/workspace",
                                        "--proc",
                                        "/proc",
                                        "--dev",
                                        "/dev",
                                        "--tmpfs",
                                        "/tmp",
                                        "--chdir",
                                        "/workspace",
                                        "--clearenv",
                                        "--setenv",
                                        "PATH",
                                        kInsidePath,
                                        "--setenv",
                                        "HOME",
                                        "/workspace",
                                        "/bin/sh",
                                        "-c",
                                        line};
    };
}

// The same root by chroot, which costs nothing. Its mounts go with their namespace.
OnThisMachine::Way bare(std::string rootfs, std::string root) {
    return [=](std::string const& files, std::string const& line) {
        constexpr char const* kEnter =
            "set -e; mount --bind \"$1\" \"$2\"; mount -o remount,bind,ro \"$2\"; mount --bind \"$3\" "
            "\"$2/workspace\"; "
            "mount -t tmpfs tmpfs \"$2/tmp\"; mount --rbind /dev \"$2/dev\"; mount -t proc proc \"$2/proc\"; "
            "exec chroot \"$2\" /usr/bin/env -i PATH=\"$PATH\" HOME=/workspace /bin/sh -c \"cd /workspace; "
            "$4\"";
        return std::vector<std::string>{"unshare", "--mount", "/bin/sh", "-c",  kEnter,
                                        "sh",      rootfs,    root,      files, line};
    };
}

}  // namespace

std::vector<std::unique_ptr<Workplace>> all_workplaces(Lab& lab, ServerUnderTest const& server,
                                                       McpClient& client) {
    auto const rootfs = lab.options().templates + "/base/rootfs";
    auto const workspace = [&](std::string const& kind) {
        return Lab::Workspace(client, client.call("workspace_create", {{"runtime", kind}}).structured());
    };
    std::vector<std::unique_ptr<Workplace>> all;
    for (char const* kind : {"native", "gvisor"}) {
        auto made = workspace(kind);
        auto files = lab.host_files(server, client, made);
        all.push_back(std::make_unique<InWorkspace>(kind, server, client, std::move(made), std::move(files)));
    }
    auto const outside = [&](std::string name, OnThisMachine::Way way) {
        auto made = workspace("native");
        auto files = lab.host_files(server, client, made);
        all.push_back(std::make_unique<OnThisMachine>(std::move(name), lab.children(), std::move(made),
                                                      std::move(files), std::move(way)));
    };
    if (auto const program = lab.peers().bubblewrap(); !program.empty())
        outside("bubblewrap", bubblewrap(program, rootfs));
    auto const root = lab.file("bare");
    base::sys::mkdir(root, 0755).value();
    outside("bare", bare(rootfs, root));
    for (auto const& place : all) {
        auto const file = place->files() + "/work";
        std::filesystem::copy_file(lab.program("berth-bench-work"), file);
        std::filesystem::permissions(file, std::filesystem::perms(0755));
    }
    return all;
}

}  // namespace bench
