#include "saving.hpp"

#include "../freezer.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <base/launcher.hpp>
#include <base/processes.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <sandbox/image.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <order.hpp>
#include <sstream>

namespace sandbox::native {

using base::errc;
using base::milliseconds;

namespace {

constexpr char const* kCgroups = "cgroups";
constexpr milliseconds kLookAgain{2};
// Once CRIU has begun with a sandbox it must not be stopped: it is let come to its end, and what it wrote is
// void.
constexpr milliseconds kLate{120'000};
constexpr std::uint64_t kDiskFull = 64 * 1024;
constexpr char const* kNeeded[] = {"inventory.img", "sandbox.json", "upper.tar"};

base::Result<std::vector<std::string>> cgroups_of(Slot const& slot) {
    auto text = base::read_file(slot.path(kCgroups), 64 * 1024);
    if (!text) return text.error();
    std::vector<std::string> out;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) out.push_back(line);
    return out;
}

base::Result<Freezer> freezer_of(Slot const& slot) {
    auto const groups = cgroups_of(slot);
    if (!groups) return groups.error();
    for (auto const& group : *groups) {
        if (::access((group + "/freezer.state").c_str(), F_OK) == 0) return Freezer(group, Freezer::Kind::v1);
        if (::access((group + "/cgroup.freeze").c_str(), F_OK) == 0) return Freezer(group, Freezer::Kind::v2);
    }
    return base::error(errc::unavailable, "sandbox " + slot.id + " has no freezer");
}

base::Status write_order(Order const& order, std::string const& path) {
    auto fd = base::sys::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!fd) return fd.error();
    return base::sys::write_all(fd->get(), base::dump(to_json(order)), "write " + path);
}

std::string said(base::Finished const& finished) {
    auto text = finished.err.substr(0, finished.err.find('\n'));
    return text.empty() ? "berth-contain ended with status " + std::to_string(finished.exit_code) : text;
}

bool disk_full(std::string const& directory) {
    struct statvfs disk {};
    return ::statvfs(directory.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < kDiskFull;
}

// What CRIU was in the middle of may hold code of CRIU's: nothing of it may go on.
void end_broken(Freezer const& freezer) {
    if (auto text = base::read_file(freezer.directory() + "/cgroup.procs", 1 << 20)) {
        std::istringstream pids(*text);
        for (pid_t pid; pids >> pid;)
            if (pid > 1) ::kill(pid, SIGKILL);
    }
    (void)freezer.thaw();
}

// True when no save is under way.
base::Result<bool> nobody_saves(Slot const& slot) {
    auto fd = base::sys::open(slot.path(kSaving), O_RDONLY | O_NOFOLLOW);
    if (!fd) {
        if (fd.error().code.value() == ENOENT) return true;
        return fd.error();
    }
    return ::flock(fd->get(), LOCK_EX | LOCK_NB) == 0;
}

/// Between a load and the server: the process's number one way, the word to go on the other.
struct Conversation {
    explicit Conversation(asio::any_io_executor executor) : ear(executor) {}
    asio::readable_pipe ear;
    base::UniqueFd mouth;
    Begins begins;
    base::Status agreed;
};

base::Task<void> converse_with_load(std::shared_ptr<Conversation> talk) {
    std::string line;
    char chunk[64];
    while (line.find('\n') == line.npos) {
        auto const buffer = asio::buffer(chunk);
        auto [ec, n] = co_await talk->ear.async_read_some(buffer, base::as_tuple);
        if (ec || line.size() > sizeof chunk) co_return;
        line.append(chunk, n);
    }
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    talk->agreed =
        pid > 1 ? talk->begins(pid) : base::error(errc::internal, "berth-contain told no process id");
    if (talk->agreed) talk->agreed = base::sys::write_all(talk->mouth.get(), "g", "let the sandbox run");
    talk->mouth.reset();
}

}  // namespace

base::Status note_cgroups(Slot const& slot, std::vector<std::string> const& cgroups) {
    std::string text;
    for (auto const& group : cgroups) text += group + "\n";
    auto fd = base::sys::open(slot.path(kCgroups), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!fd) return fd.error();
    return base::sys::write_all(fd->get(), text, "write the cgroups of " + slot.id);
}

base::Task<base::Status> pause(Slot slot, milliseconds limit) {
    auto const freezer = freezer_of(slot);
    if (!freezer) co_return freezer.error();
    if (auto s = freezer->freeze(); !s) co_return s;
    auto const end = base::Clock::now() + limit;
    for (;;) {
        auto settled = freezer->settled();
        if (settled && *settled) co_return base::Status();
        if (!settled || base::Clock::now() > end) {
            (void)freezer->thaw();
            if (!settled) co_return settled.error();
            co_return base::error(errc::timed_out, "the sandbox does not come to a stand");
        }
        co_await base::sleep_for(kLookAgain);
    }
}

base::Task<base::Status> resume(Slot slot, milliseconds limit) {
    auto const freezer = freezer_of(slot);
    if (!freezer) co_return freezer.error();
    auto const end = base::Clock::now() + limit;
    for (;;) {
        auto free = nobody_saves(slot);
        if (!free) co_return free.error();
        if (*free) co_return freezer->thaw();
        if (base::Clock::now() > end)
            co_return base::error(errc::timed_out, "a save of the sandbox does not end");
        co_await base::sleep_for(kLookAgain);
    }
}

base::Task<base::Status> checkpoint(Saver saver, Slot slot, std::string directory, milliseconds limit) {
    auto const record = slot.read_record();
    if (!record) co_return record.error();
    auto const freezer = freezer_of(slot);
    if (!freezer) co_return freezer.error();
    Order order;
    order.criu = saver.criu.command;
    order.images = directory;
    order.work = slot.directory;
    order.process = record->sentry;
    order.freezer = freezer->directory();
    if (auto s = write_order(order, slot.path("save.json")); !s) co_return s;
    base::Launch launch;
    launch.argv = {saver.contain, "--save", slot.path("native.json"), slot.path("save.json")};
    auto const end = base::Clock::now() + limit;
    auto finished = co_await base::run(std::move(launch), limit + kLate);
    bool const late = base::Clock::now() > end;
    if (finished && finished->exit_code == outcome::done) {
        if (late) co_return base::error(errc::timed_out, "saving the sandbox took too long");
        co_return base::Status();
    }
    bool const whole =
        finished && (finished->exit_code == outcome::failed || finished->exit_code == outcome::misused);
    if (!whole) {
        end_broken(*freezer);
        co_return base::Error{asio::error::broken_pipe,
                              finished ? said(*finished) : finished.error().message()};
    }
    if (disk_full(directory)) co_return base::error(errc::limit, "the disk is full: " + said(*finished));
    co_return error(image_errc::refused, "CRIU would not save it: " + said(*finished));
}

base::Task<base::Status> restore(Saver saver, Slot slot, std::string directory, milliseconds limit,
                                 Begins begins) {
    for (char const* name : kNeeded)
        if (::access((directory + "/" + name).c_str(), R_OK) != 0)
            co_return error(image_errc::damaged, std::string(name) + " is missing");
    auto const record = slot.read_record();
    if (!record) co_return record.error();
    auto cgroups = cgroups_of(slot);
    if (!cgroups) co_return cgroups.error();
    auto const holder = base::sys::pidfd_open(record->sentry);
    if (!holder || base::process_start(record->sentry) != record->sentry_start)
        co_return base::error(errc::unavailable, "what stood for the sandbox has ended");
    Order order;
    order.criu = saver.criu.command;
    order.images = directory;
    order.work = slot.directory;
    order.process = record->sentry;
    order.in = slot.path("in");
    order.out = slot.path("out");
    if (auto s = write_order(order, slot.path("load.json")); !s) co_return s;

    auto to_us = base::sys::pipe(), to_it = base::sys::pipe();
    for (auto const* ends : {&to_us, &to_it})
        if (!*ends) co_return ends->error();
    auto const executor = co_await asio::this_coro::executor;
    auto const talk = std::make_shared<Conversation>(executor);
    talk->ear.assign(to_us->first.release());
    talk->mouth = std::move(to_it->second);
    talk->begins = std::move(begins);
    base::Launch launch;
    launch.argv = {saver.contain, "--load", slot.path("native.json"), slot.path("load.json")};
    launch.in = to_it->first.get();
    launch.out = to_us->second.get();
    launch.cgroups = std::move(*cgroups);  // where the sandbox's processes are made
    asio::co_spawn(executor, converse_with_load(talk), asio::detached);
    auto finished = co_await base::run(std::move(launch), limit);
    boost::system::error_code ignored;
    talk->ear.close(ignored);
    talk->mouth.reset();
    if (!finished) co_return finished.error();
    if (!talk->agreed) co_return talk->agreed;
    if (finished->exit_code != outcome::done)
        co_return error(image_errc::refused, "CRIU would not load it: " + said(*finished));
    co_return base::sys::pidfd_signal(holder->get(), SIGKILL);
}

}  // namespace sandbox::native
