#pragma once
#include <base/files.hpp>
#include <base/launcher.hpp>
#include <base/timeout.hpp>
#include <doctest/doctest.h>
#include <sandbox/sandboxes.hpp>
#include <testing/io.hpp>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>

/// A failed check shows the error itself; boost's own operator would need one for base::Error.
template <class T>
struct doctest::StringMaker<boost::system::result<T, base::Error>> {
    static doctest::String convert(boost::system::result<T, base::Error> const& r) {
        return r ? "a value" : r.error().message().c_str();
    }
};

namespace gvisor_test {

constexpr char const* kTemplate = "/var/lib/berth/templates/base/rootfs";

/// The same suites run once for each runtime, as a program of its own.
#ifdef BERTH_TEST_NATIVE
constexpr auto kRuntime = sandbox::RuntimeKind::native;
constexpr char const* kShelf = "base/native";
#else
constexpr auto kRuntime = sandbox::RuntimeKind::gvisor;
constexpr char const* kShelf = "base";
#endif

/// "" when sandboxes can be made here.
inline std::string missing() {
    if (::geteuid() != 0) return "this needs root";
    if (kRuntime == sandbox::RuntimeKind::gvisor && base::find_program("runsc").empty())
        return "runsc is not installed (scripts/setup)";
    if (!std::filesystem::exists(kTemplate)) return std::string(kTemplate) + " is missing (scripts/setup-template)";
    return {};
}

/// Loudly, since a run that skipped everything proves nothing.
#define BERTH_NEEDS_GVISOR()                             \
    if (auto const why = gvisor_test::missing(); !why.empty()) { \
        MESSAGE("SKIPPED: " << why);                     \
        return;                                          \
    }

/// A node of its own directory; everything it started is gone afterwards.
struct TestNode {
    testing_support::TemporaryDirectory directory;
    testing_support::Io io;
    sandbox::Options options;
    std::unique_ptr<sandbox::Sandboxes> sandboxes;

    explicit TestNode(int ready = 0, int awake = 0, int blank = 0) {
        options.directory = directory.path + "/n";
        options.guest_binary = BERTH_GUEST;
        options.templates["base"] = {"base", kTemplate, "test"};
        pool() = {ready, awake, blank};
#ifdef BERTH_TEST_NATIVE
        options.native.allowed = true;
        options.native.program = BERTH_CONTAIN;
#endif
        open();
    }
    ~TestNode() {
        if (!sandboxes) open();
        io.run(sandboxes->sweep());
        io.run(sandboxes->stop(true));
    }

    sandbox::PoolTarget& pool() {
        return (kRuntime == sandbox::RuntimeKind::gvisor ? options.pool : options.native.pool)["base"];
    }
    sandbox::Sandboxes::Stock stock() const { return sandboxes->stock().at(kShelf); }

    void open() {
        auto opened = sandbox::Sandboxes::open(io.context, io.pool, options);
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
        sandboxes = std::move(*opened);
    }
    /// As when the server is killed: what runs goes on running.
    void drop() { sandboxes.reset(); }

    void fill(int ready) {
        sandboxes->start_filling();
        io.run(sandboxes->wait_for_stock(ready, std::chrono::seconds(50)));
        REQUIRE_MESSAGE(stock().ready >= ready, sandboxes->last_boot_error());
    }
    std::shared_ptr<sandbox::Sandbox> take(bool* warm = nullptr) {
        auto taken = io.run(sandboxes->take("base", kRuntime));
        REQUIRE_MESSAGE(taken, (taken ? "" : taken.error().message()));
        if (warm) *warm = taken->warm;
        return taken->sandbox;
    }
    base::Status configure(sandbox::Sandbox& one, bool volume = false, std::string id = "w1") {
        sandbox::GuestSetup setup;
        setup.workspace_id = std::move(id);
        setup.hostname = "w1";
        setup.volume = volume;
        return io.run(one.guest().configure(std::move(setup)));
    }
    base::Result<sandbox::ProcessView> run_in(sandbox::Sandbox& one, std::string command,
                                              base::milliseconds wait = std::chrono::seconds(20)) {
        sandbox::ProcessSpec spec;
        spec.id = "p" + std::to_string(++processes);
        spec.command = std::move(command);
        spec.cwd = "/";
        spec.wait = wait;
        return io.run(one.guest().start(std::move(spec)));
    }
    std::string output_of(sandbox::Sandbox& one, std::string command) {
        auto view = run_in(one, std::move(command));
        REQUIRE_MESSAGE(view, (view ? "" : view.error().message()));
        return view->output;
    }
    /// Runs the loop until the condition holds, at most half a minute.
    template <class Condition>
    bool eventually(Condition condition) {
        auto const end = base::Clock::now() + std::chrono::seconds(30);
        while (!condition() && base::Clock::now() < end) io.run(base::sleep_for(std::chrono::milliseconds(5)));
        return condition();
    }

    int processes = 0;
};

/// Everything a sandbox leaves on the host while it lives, by its id: processes, mounts, cgroups, files.
inline std::set<std::string> traces(std::string const& id, std::string const& directory) {
    std::set<std::string> found;
    std::error_code ec;
    for (std::filesystem::directory_iterator it("/proc", ec), end; !ec && it != end; it.increment(ec)) {
        auto const command = base::read_file(it->path().string() + "/cmdline");
        if (command && command->find(id) != command->npos) found.insert("process " + it->path().string());
    }
    if (auto const mounts = base::read_file("/proc/self/mountinfo", 16 << 20); mounts && mounts->find(id) != mounts->npos)
        found.insert("mount");
    std::filesystem::recursive_directory_iterator groups("/sys/fs/cgroup", ec);
    for (std::filesystem::recursive_directory_iterator end; !ec && groups != end; groups.increment(ec))
        if (groups->path().filename() == id) found.insert("cgroup " + groups->path().string());
    std::filesystem::recursive_directory_iterator files(directory, ec);
    for (std::filesystem::recursive_directory_iterator end; !ec && files != end; files.increment(ec))
        if (files->path().filename().string().find(id) != std::string::npos) found.insert("file " + files->path().string());
    return found;
}

}  // namespace gvisor_test
