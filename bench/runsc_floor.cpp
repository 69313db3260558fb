#include "runsc_floor.hpp"

#include "interrupt.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <poll.h>

#include <filesystem>

namespace bench {
namespace {

constexpr base::milliseconds kLimit{30'000};
constexpr int kFirstByteMs = 120'000;  // a gigabyte of random bytes takes its time on a busy machine
constexpr char const* kStanding = "bench-standing";

}  // namespace

RunscFloor::RunscFloor(Children& children, std::string directory, std::string rootfs)
    : children_(children), directory_(std::move(directory)), rootfs_(std::move(rootfs)) {
    if (base::find_program("runsc").empty())
        throw Failure("runsc (gVisor) is not installed: run scripts/setup");
    base::sys::mkdir(directory_, 0700).value();
}

RunscFloor::~RunscFloor() {
    WithoutSignals undisturbed;
    auto ids = std::vector<std::string>();
    if (standing_) ids.push_back(kStanding);
    if (runs_ > 0) ids.push_back("bench-run-" + std::to_string(runs_));  // an interrupted one
    for (auto const& id : ids) {
        try {
            (void)children_.run(launch({"delete", "-force", id}), kLimit);
        } catch (std::exception const&) {
            // Whatever is left, the scratch directory's owner finds and names.
        }
    }
}

base::Launch RunscFloor::launch(std::vector<std::string> words) const {
    base::Launch l;
    l.argv = {"runsc",          "--root=" + directory_ + "/state", "--platform=systrap",
              "--network=none", "--overlay2=root:memory",          "--ignore-cgroups"};
    l.argv.insert(l.argv.end(), words.begin(), words.end());
    return l;
}

std::string RunscFloor::bundle(std::string const& name, std::vector<std::string> const& args) const {
    auto const where = directory_ + "/" + name;
    base::sys::mkdir(where, 0700).value();
    auto const namespaces = base::Json::array({{{"type", "pid"}},
                                               {{"type", "ipc"}},
                                               {{"type", "uts"}},
                                               {{"type", "mount"}},
                                               {{"type", "network"}}});
    auto const mounts =
        base::Json::array({{{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}},
                           {{"destination", "/dev"}, {"type", "tmpfs"}, {"source", "tmpfs"}},
                           {{"destination", "/tmp"}, {"type", "tmpfs"}, {"source", "tmpfs"}}});
    base::Json const spec = {{"ociVersion", "1.0.2"},
                             {"process",
                              {{"user", {{"uid", 0}, {"gid", 0}}},
                               {"args", args},
                               {"env", {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}},
                               {"cwd", "/"}}},
                             {"root", {{"path", rootfs_}, {"readonly", false}}},  // written to in memory only
                             {"mounts", mounts},
                             {"linux", {{"namespaces", namespaces}}}};
    base::replace_file(where + "/config.json", base::dump(spec), 0600).value();
    return where;
}

Clock::duration RunscFloor::run_to_first_echo() {
    throw_if_interrupted();
    auto const id = "bench-run-" + std::to_string(++runs_);
    auto const where = bundle(id, {"/bin/sh", "-c", "echo ready"});
    auto pipe = base::sys::pipe().value();
    Streams streams;
    streams.out = std::move(pipe.second);
    auto const began = Clock::now();
    auto const child = children_.start(launch({"run", "-bundle=" + where, id}), std::move(streams), kLimit);
    pollfd ready{pipe.first.get(), POLLIN, 0};
    int const polled = ::poll(&ready, 1, static_cast<int>(kLimit.count()));
    auto const took = Clock::now() - began;
    throw_if_interrupted();
    char byte = 0;
    if (polled != 1 || ::read(pipe.first.get(), &byte, 1) != 1)
        throw Failure("bare runsc run gave no output");
    auto const end = child->wait(kLimit);
    if (!end || !*end || (*end)->exit_code != 0)
        throw Failure("bare runsc run failed" +
                      (end && *end ? ": " + (*end)->err.substr(0, 300) : std::string()));
    (void)base::remove_tree(where);
    return took;
}

void RunscFloor::begin_standing() {
    auto const where = bundle(kStanding, {"/bin/sleep", "infinity"});
    standing_ = true;
    auto const null = base::sys::open("/dev/null", O_RDWR).value();
    auto l = launch({"run", "-detach", "-bundle=" + where, kStanding});
    l.out = l.err = null.get();  // the sandbox keeps them
    auto const started = children_.run(std::move(l), kLimit);
    if (started.exit_code != 0)
        throw Failure("bare runsc run -detach ended with " + std::to_string(started.exit_code));
}

Clock::duration RunscFloor::exec_true() {
    throw_if_interrupted();
    if (!standing_) begin_standing();
    auto l = launch({"exec", kStanding, "/bin/true"});
    auto const began = Clock::now();
    auto const done = children_.run(std::move(l), kLimit);
    auto const took = Clock::now() - began;
    if (done.exit_code != 0) throw Failure("bare runsc exec failed: " + done.err.substr(0, 300));
    return took;
}

void RunscFloor::must(std::vector<std::string> words) const {
    auto const what = words.front();
    auto l = launch(std::move(words));
    auto const null = base::sys::open("/dev/null", O_RDWR).value();
    if (what == "create" || what == "restore") l.out = l.err = null.get();  // the sandbox keeps them
    auto const done = children_.run(std::move(l), kLimit);
    if (done.exit_code != 0)
        throw Failure("bare runsc " + what + " ended with " + std::to_string(done.exit_code) + ": " +
                      done.err.substr(0, 300));
}

RunscFloor::SleepAndWake RunscFloor::sleep_and_wake(std::vector<std::string> const& args) {
    throw_if_interrupted();
    auto const id = "bench-run-" + std::to_string(++runs_);
    auto const where = bundle(id, args);
    auto const image = where + "/image";
    base::sys::mkdir(image, 0700).value();
    auto pipe = base::sys::pipe().value();  // open to the end: what still writes must not find it closed
    {
        auto const null = base::sys::open("/dev/null", O_RDWR).value();
        auto l = launch({"run", "-detach", "-bundle=" + where, id});
        l.out = pipe.second.get();
        l.err = null.get();
        auto const started = children_.run(std::move(l), kLimit);
        if (started.exit_code != 0) throw Failure("bare runsc run ended with " + std::to_string(started.exit_code));
        pollfd ready{pipe.first.get(), POLLIN, 0};
        if (::poll(&ready, 1, kFirstByteMs) != 1) throw Failure("bare runsc gave no output");
    }
    SleepAndWake took;
    auto began = Clock::now();
    must({"checkpoint", "-compression=none", "-image-path=" + image, id});
    for (auto const& file : std::filesystem::directory_iterator(image)) {
        auto const fd = base::sys::open(file.path().string(), O_RDONLY).value();
        (void)base::sys::fsync(fd.get(), "flush " + file.path().string()).value();
    }
    took.checkpoint = Clock::now() - began;
    must({"delete", "-force", id});
    must({"create", "-bundle=" + where, id});
    began = Clock::now();
    must({"restore", "-detach", "-bundle=" + where, "-image-path=" + image, id});
    took.restore = Clock::now() - began;
    must({"delete", "-force", id});
    (void)base::remove_tree(where);
    return took;
}

}  // namespace bench
