#include "runsc.hpp"

#include <base/files.hpp>
#include <base/launcher.hpp>
#include <base/syscalls.hpp>

#include <sys/stat.h>

#include <charconv>
#include <cctype>
#include <filesystem>
#include <set>

namespace sandbox::gvisor {

using base::errc;
using base::error;

base::Result<Runsc> Runsc::find(std::string const& directory) {
    Runsc r;
    r.program = base::find_program("runsc");
    if (r.program.empty()) return error(errc::unavailable, std::string("runsc (gVisor) is not installed: ") + kHowToInstall);
    struct stat st{};
    if (::stat(r.program.c_str(), &st) != 0) return base::errno_error("stat " + r.program);
    r.build = std::to_string(st.st_size) + "-" + std::to_string(st.st_mtim.tv_sec) + "-" + std::to_string(st.st_ino);
    r.root = directory + "/runsc";
    return r;
}

std::vector<std::string> Runsc::command(Slot const& slot) const {
    return {program,
            "--root=" + root,
            "--log=" + slot.path("runsc.log"),
            "--platform=systrap",
            "--network=none",
            "--overlay2=root:memory",
            "--ignore-cgroups"};
}

base::Task<base::Result<pid_t>> boot(Runsc runsc, Slot slot, Start start, std::vector<std::string> cgroups,
                                     base::milliseconds limit) {
    auto fifos = slot.open_fifos();
    if (!fifos) co_return fifos.error();
    auto const pid_file = slot.path("sentry.pid");
    base::Launch launch;
    launch.argv = runsc.command(slot);
    // One process rather than `create` and `start`: 25 ms less.
    if (start == Start::run) launch.argv.insert(launch.argv.end(), {"run", "-detach"});
    else launch.argv.push_back("create");
    for (auto const& word : {"-bundle=" + slot.path("bundle"), "-pid-file=" + pid_file, slot.id})
        launch.argv.push_back(word);
    auto null = base::sys::open("/dev/null", O_RDWR);
    if (!null) co_return null.error();
    launch.in = fifos->first.get();
    launch.out = fifos->second.get();
    launch.err = null->get();                    // also the guest's: a file would be filled from inside
    launch.cgroups = std::move(cgroups);
    auto finished = co_await base::run(std::move(launch), limit);
    std::string log;
    if (auto text = base::read_file(slot.path("runsc.log"), 1 << 20)) log = text->substr(0, 1000);
    if (!finished) co_return base::wrap(finished.error(), log.empty() ? "boot" : "boot (" + log + ")");
    if (finished->exit_code != 0)
        co_return error(errc::unavailable, "runsc ended with status " + std::to_string(finished->exit_code) +
                                               (log.empty() ? "" : ": " + log));
    auto text = base::read_file(pid_file, 64);
    if (!text) co_return text.error();
    pid_t pid = 0;
    std::from_chars(text->data(), text->data() + text->size(), pid);
    if (pid <= 1) co_return error(errc::internal, "runsc wrote no process id");
    co_return pid;
}

int release_date(std::string const& text) {
    // "runsc version 0.0~20240729.0" or "runsc version release-20240729.0"
    for (std::size_t i = 0; i + 8 <= text.size(); ++i) {
        int date = 0;
        auto const [end, ec] = std::from_chars(text.data() + i, text.data() + i + 8, date);
        bool const alone = i == 0 || !std::isdigit(static_cast<unsigned char>(text[i - 1]));
        if (ec == std::errc() && end == text.data() + i + 8 && alone && date > 20180000) return date;
    }
    return 0;
}

base::Status check_release(Runsc const& runsc, std::string const& known) {
    if (auto noted = base::read_file(known, 256); noted && *noted == runsc.build) return {};
    base::Launch launch;
    launch.argv = {runsc.program, "--version"};
    asio::io_context io;                         // before anything else runs, so there is nothing to hold up
    base::Result<base::Finished> finished = error(errc::internal, "not asked");
    auto ask = [](base::Launch what, base::Result<base::Finished>& out) -> base::Task<void> {
        out = co_await base::run(std::move(what), base::milliseconds(10'000));
    };
    asio::co_spawn(io, ask(std::move(launch), finished), asio::detached);
    io.run();
    if (!finished) return base::wrap(finished.error(), runsc.program + " --version");
    int const date = release_date(finished->out);
    if (date != 0 && date < kOldestRelease)      // one that does not tell was built by somebody who knows
        return error(errc::unavailable, runsc.program + " is " + finished->out.substr(0, finished->out.find('\n')) +
                                            ", too old: " + std::to_string(kOldestRelease) + " or newer is needed; " +
                                            kHowToInstall);
    (void)base::replace_file(known, runsc.build, 0600);
    return {};
}

void forget(std::string const& root, std::string const& id) {
    for (auto const& name : {id + "_sandbox:" + id + ".state", id + "_sandbox:" + id + ".lock", "runsc-" + id + ".sock"})
        (void)base::sys::unlink(root + "/" + name);
}

std::vector<std::string> remembered(std::string const& root) {
    std::set<std::string> ids;
    std::error_code ec;
    for (std::filesystem::directory_iterator it(root, ec), end; !ec && it != end; it.increment(ec)) {
        std::string name = it->path().filename();
        if (name.starts_with("runsc-")) name.erase(0, 6);
        name = name.substr(0, Slot::kIdLength);
        if (Slot::valid_id(name)) ids.insert(name);
    }
    return {ids.begin(), ids.end()};
}

}  // namespace sandbox::gvisor
